package xds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sluice/userspace/route"
)

// Source publishes the table that an agent's xDS stands for.
type Source struct {
	Options
	times  timing
	status atomic.Pointer[Status]
}

// Status is how the source stands with its agent.
type Status struct {
	Connected bool       // the agent has answered on the stream that is open
	Since     time.Time  // since when it is so; while not connected, the table may be out of date since then
	Err       error      // why it is not connected, if it ever tried
	Kept      int        // clusters in the table that the agent does not have any more
	Listeners []Listener // addresses that the agent wants the gateway to listen on, by name
}

// New returns a source, or says what is wrong with the options.
func New(o Options) (*Source, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	s := &Source{Options: o, times: o.timing()}
	s.status.Store(&Status{Since: time.Now()})
	return s, nil
}

// Status may be called at any time, from anywhere.
func (s *Source) Status() Status { return *s.status.Load() }

// Run publishes the first table when it is whole, and after that one for each
// change, in their order, until the context is done, and then returns nil. No
// answer of the agent ends it.
func (s *Source) Run(ctx context.Context, publish func(*route.Table)) error {
	r := s.run(publish)
	for failures := 0; ; failures++ {
		begun := time.Now()
		answered, err := r.stream(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if answered && time.Since(begun) > s.times.retryMax {
			failures = 0
		}
		if answered {
			r.flush(time.Now()) // what came last may be worth having
		}
		wait := s.times.wait(err, failures)
		r.disconnected(err)
		r.tell(err, wait)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// Probe tells whether the agent answers for the gateway, and if not, why.
func Probe(ctx context.Context, o Options) error {
	s, err := New(o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := s.run(func(*route.Table) {})
	r.answered = cancel
	if answered, err := r.stream(ctx); !answered {
		return explained(err)
	}
	return nil
}

// running is a Source at work, over all its streams.
type running struct {
	*Source
	compiler *compiler
	publish  func(*route.Table)
	answered func()    // called when a stream has given its first answers
	begun    time.Time // for how long the first table took
}

func (s *Source) run(publish func(*route.Table)) *running {
	c := newCompiler(newMesh(s.Log), s.Last, s.times)
	c.doubt = s.doubt
	return &running{
		Source:   s,
		compiler: c,
		publish:  publish,
		answered: func() {},
		begun:    time.Now(),
	}
}

// doubt is why the agent is not believed what is missing; "" if it is.
func (s *Source) doubt() string {
	if s.Hidden == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.times.ask)
	defer cancel()
	hidden, err := s.Hidden(ctx)
	switch {
	case err != nil:
		return "it cannot be told whether the token lost rights: " + err.Error()
	case hidden:
		return `the token lost service_prefix "" { policy = "read" } or node_prefix "" { policy = "read" }`
	}
	return ""
}

// flush publishes what has changed, once there is a whole table.
func (r *running) flush(now time.Time) {
	c := r.compiler
	if !c.whole && !c.complete(now) {
		return
	}
	first := !c.whole
	t, err := c.compile(now)
	switch {
	case err != nil:
		r.Log.Error("xds: table not published", "err", err)
	case first:
		r.Log.Info("xds: first table", "table", t.String(), "after", now.Sub(r.begun).Round(time.Millisecond))
		r.publish(t)
	case t != nil:
		r.publish(t)
	}
	r.update(func(s *Status) {
		s.Kept = len(c.loss.Kept())
		s.Listeners = c.bound()
	})
}

func (r *running) update(change func(*Status)) {
	next := *r.status.Load()
	change(&next)
	r.status.Store(&next)
}

func (r *running) disconnected(err error) {
	r.update(func(s *Status) {
		if s.Connected {
			s.Connected, s.Since = false, time.Now()
		}
		s.Err = explained(err)
	})
}

func (r *running) tell(err error, wait time.Duration) {
	wait = wait.Round(time.Millisecond)
	switch {
	case errors.Is(err, errNewToken):
		r.Log.Info("xds: the token is another one: beginning a new stream with it")
	case errors.Is(err, errIdle):
		r.Log.Debug("xds: nothing was heard for long: beginning a new stream to see whether the agent still knows the gateway")
	default:
		r.Log.Warn("xds: no stream", "err", err, "probably", advice(err), "retry_in", wait, "agent", r.Address, "gateway", r.NodeID)
	}
}

// wait is how long to wait before the next stream, given how the last one ended
// and how many failed in a row before it. It is a random part of a time that
// doubles, so that the gateways of an agent that died do not return as one.
func (t *timing) wait(err error, failures int) time.Duration {
	if errors.Is(err, errNewToken) || errors.Is(err, errIdle) {
		return 0
	}
	longest := t.retryMax
	if failures < 16 {
		longest = min(longest, t.retry<<failures)
	}
	wait := longest/2 + rand.N(longest/2+1)
	if status.Code(err) == codes.ResourceExhausted {
		wait += t.busy
	}
	return wait
}

// explained adds to an error what is probably the matter.
func explained(err error) error {
	if a := advice(err); a != "" {
		return fmt.Errorf("%w (%s)", err, a)
	}
	return err
}
