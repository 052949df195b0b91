package consul

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"sluice/userspace/route"
)

// Source publishes the table that Consul's catalog stands for.
type Source struct {
	Options
	times  timing
	status atomic.Pointer[Status]
}

// Status is how the source stands with its agent.
type Status struct {
	Connected bool          // all queries about this datacenter are answered
	Since     time.Time     // since when it is so; while not connected, the table may be out of date since then
	Err       error         // why it is not connected, if it ever tried
	Kept      int           // clusters in the table that Consul does not have any more
	Queries   int           // facts that are asked for
	Delay     time.Duration // how late changes may be seen because queries take turns
}

// New returns a source, or says what is wrong with the options.
func New(o Options) (*Source, error) {
	if err := o.check(); err != nil {
		return nil, err
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
	ctx, cancel := context.WithCancel(ctx)
	r := &running{
		watcher:  newWatcher(s),
		compiler: newCompiler(newView(s)),
		publish:  publish,
		begun:    time.Now(),
		failing:  map[fact]failure{},
		filtered: map[fact]bool{},
		hidden:   map[fact]struct{}{},
		told:     map[string]bool{},
	}
	r.compiler.loss.Begin(s.Last == nil)
	defer r.group.Wait()
	defer cancel()
	return r.run(ctx)
}

// running is a Source at work.
type running struct {
	*watcher
	compiler *compiler
	publish  func(*route.Table)
	begun    time.Time // for how long the first table took

	failing  map[fact]failure  // that failed the last time
	filtered map[fact]bool     // answered, and whether the token's rights made the last answer that counts shorter
	hidden   map[fact]struct{} // whose last answer did not count, for the token lost rights
	told     map[string]bool   // rights that the log says are missing
	away     bool              // Consul does not answer as it should
	index    uint64            // of this datacenter's last change that is known
	resetAt  time.Time         // when an index last went backwards
	crowdSay bool              // it was told that queries take turns

	flushAt time.Time // when the burst of answers is over; zero if there is none
	burst   time.Time // when that began
}

func (r *running) run(ctx context.Context) error {
	r.follow(ctx)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(r.until(time.Now()))
		select {
		case <-ctx.Done():
			return nil
		case a := <-r.answers:
			now := time.Now()
			r.take(a, now)
			r.follow(ctx)
			if r.flushAt.IsZero() {
				r.burst = now
			}
			r.flushAt = earlier(now.Add(r.times.quiet), r.burst.Add(r.times.burst))
		case now := <-timer.C:
			r.flushAt = time.Time{}
			r.flush(now)
		}
	}
}

// until is how long there is nothing to do, unless something is heard.
func (r *running) until(now time.Time) time.Duration {
	at := r.due()
	if at.IsZero() {
		return time.Hour
	}
	return max(0, at.Sub(now))
}

// due is when there may be something to publish, and zero for never.
func (r *running) due() time.Time {
	at := earlier(r.flushAt, r.compiler.loss.Due())
	if !r.compiler.whole && time.Now().Before(r.optionalAt()) {
		at = earlier(at, r.optionalAt())
	}
	return at
}

// follow asks for what is wanted, and no more for what is not. The first query of
// all is alone, so that the others find its connection.
func (r *running) follow(ctx context.Context) {
	v := r.compiler.view
	if v.trustDomain == "" {
		r.start(ctx, fact{kind: aboutRoots})
		return
	}
	if !v.moved {
		return
	}
	v.moved = false
	for f := range r.running {
		if _, still := v.wants[f]; !still {
			r.stop(f)
			r.forget(f)
		}
	}
	for f := range v.wants {
		r.start(ctx, f)
	}
	r.tellCrowd()
}

func (r *running) tellCrowd() {
	delay := r.delay()
	if delay > 0 && !r.crowdSay {
		r.Log.Error("consul: the mesh needs more queries than plain HTTP has room for, so they take turns and changes are seen late: use HTTPS or -source xds",
			"queries", len(r.running), "connections", r.Connections, "delay", delay)
	}
	r.crowdSay = delay > 0
}

// take makes an answer count.
func (r *running) take(a answer, now time.Time) {
	switch {
	case !r.asks(a.fact):
	case a.err != nil:
		r.failed(a.fact, a.err)
	default:
		r.succeeded(a, now)
		if !a.remote() && (a.index > r.index || a.reset) { // each datacenter has its own
			r.index = a.index
		}
		if value, counts := r.believe(a); counts {
			r.compiler.take(a.fact, value)
		}
	}
}

// flush publishes what has changed, once there is a whole table.
func (r *running) flush(now time.Time) {
	c := r.compiler
	first := !c.whole
	if first && r.lacks(now) {
		return
	}
	if first && !r.away {
		c.loss.Answered(now)
	}
	c.builder.At(fmt.Sprint("index ", r.index))
	t, err := c.compile(now)
	switch {
	case err != nil:
		r.Log.Error("consul: table not published", "err", err)
	case first:
		r.Log.Info("consul: first table", "table", t.String(), "after", now.Sub(r.begun).Round(time.Millisecond))
		r.publish(t)
	case t != nil:
		r.publish(t)
	}
	r.update(func(s *Status) {
		s.Kept, s.Queries, s.Delay = c.kept(), len(r.running), r.delay()
	})
}

// lacks tells whether there is something to wait for before the first table. What the
// token may not read, and another datacenter that does not answer, are as if they were
// not there.
func (r *running) lacks(now time.Time) bool {
	for f := range r.compiler.fresh {
		failure, failed := r.failing[f]
		switch {
		case f.essential():
			return true
		case failed && (f.remote() || refused(failure.err)):
		case f.optional() && !now.Before(r.optionalAt()):
		default:
			return true
		}
	}
	return false
}

// optionalAt is when the first table does not wait for what is optional any more.
func (r *running) optionalAt() time.Time { return r.begun.Add(r.times.optional) }

func (r *running) update(change func(*Status)) {
	next := *r.status.Load()
	change(&next)
	r.status.Store(&next)
}

// earlier is the earlier of two times, of which a zero one is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
