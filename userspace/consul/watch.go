package consul

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"
)

var (
	errNoLeader      = errors.New("the server that answered knows no leader")
	errNoTrustDomain = errors.New("there is no trust domain: is Connect enabled?")
	errNoChain       = errors.New("the answer has no discovery chain")
)

// answer is what a query came back with.
type answer struct {
	fact
	value    any
	err      error // in place of a value
	filtered bool  // the token's rights made it shorter
	reset    bool  // Consul's index went backwards before it
	index    uint64
}

// watcher asks for facts, each in a goroutine of its own, until they are not wanted
// any more. Only the source's loop starts and stops them.
type watcher struct {
	*Source
	answers chan answer
	slots   chan struct{} // held by a query that is at the agent; nil: any number may be
	begin   chan struct{} // the same for those that do not wait there
	number  atomic.Int64  // of queries
	running map[fact]context.CancelFunc
	group   sync.WaitGroup // their goroutines
}

// beginning is how many queries that are answered at once may be at the agent
// together, so that a large mesh does not come over it all at one time.
const beginning = 64

func newWatcher(s *Source) *watcher {
	w := &watcher{
		Source:  s,
		answers: make(chan answer, beginning),
		begin:   make(chan struct{}, beginning),
		running: map[fact]context.CancelFunc{},
	}
	if s.Connections > 0 {
		w.slots = make(chan struct{}, s.Connections)
	}
	return w
}

// start begins to ask for a fact, unless it is asked for already.
func (w *watcher) start(ctx context.Context, f fact) {
	if _, runs := w.running[f]; runs {
		return
	}
	ctx, w.running[f] = context.WithCancel(ctx)
	w.number.Add(1)
	w.group.Go(func() { w.watch(ctx, f) })
}

// stop ends to ask for a fact. An answer may be on its way still.
func (w *watcher) stop(f fact) {
	if cancel, runs := w.running[f]; runs {
		cancel()
		delete(w.running, f)
		w.number.Add(-1)
	}
}

// asks tells whether a fact is asked for, so that late answers are known.
func (w *watcher) asks(f fact) bool {
	_, runs := w.running[f]
	return runs
}

// watch asks for one fact until the context is done.
func (w *watcher) watch(ctx context.Context, f fact) {
	var index, last uint64 // to wait for a change after, 0: not to wait; and of the last answer
	failures, hasty := 0, 0
	for ctx.Err() == nil {
		asked := time.Now()
		value, meta, err := w.ask(ctx, f, index)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			w.deliver(ctx, answer{fact: f, err: err})
			sleep(ctx, w.times.backoff(failures))
			failures++
			index = 0 // that it is answered again must be known at once, not at the next change
			continue
		}
		failures = 0
		next := max(meta.LastIndex, 1)
		if f.polled() {
			w.deliver(ctx, answer{fact: f, value: value, filtered: meta.ResultsFilteredByACLs})
			sleep(ctx, w.times.poll/2+rand.N(w.times.poll))
			continue
		}
		if next == index && time.Since(asked) < w.times.turn/2 {
			// What answers does not wait for a change, which an agent does.
			sleep(ctx, w.times.backoff(hasty))
			hasty++
			continue
		}
		hasty = 0
		if next != index {
			w.deliver(ctx, answer{fact: f, value: value, filtered: meta.ResultsFilteredByACLs, reset: next < last, index: next})
		}
		if next < last {
			next = 0 // as Consul's documentation of blocking queries has it
		}
		index, last = next, next
		sleep(ctx, w.times.pace-time.Since(asked))
	}
}

func (w *watcher) deliver(ctx context.Context, a answer) {
	select {
	case w.answers <- a:
	case <-ctx.Done():
	}
}

// ask asks once, when it is its turn, and waits for a change after the index.
func (w *watcher) ask(ctx context.Context, f fact, index uint64) (any, *api.QueryMeta, error) {
	wait := w.times.wait
	if w.crowded() {
		wait = w.times.turn
	}
	slots := w.slots
	if slots == nil && index == 0 {
		slots = w.begin
	}
	if slots != nil {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
	return w.askNow(ctx, f, index, wait)
}

func (w *watcher) askNow(ctx context.Context, f fact, index uint64, wait time.Duration) (any, *api.QueryMeta, error) {
	// A connection that died without a word is found out by the time.
	limit := w.times.answer
	if index > 0 {
		limit += wait + wait/16 // which the agent adds up to
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	q := (&api.QueryOptions{WaitIndex: index, WaitTime: wait, AllowStale: !f.remote() && index > 0}).WithContext(ctx)
	value, meta, err := w.get(f, q)
	switch {
	case err != nil:
		return nil, nil, err
	case leaderless(meta):
		return nil, nil, errNoLeader
	}
	if q.AllowStale && nothing(value) {
		q = (&api.QueryOptions{}).WithContext(ctx)
		if value, meta, err = w.get(f, q); err == nil && leaderless(meta) {
			err = errNoLeader
		}
	}
	return value, meta, err
}

// leaderless tells whether a server answered that is cut off, or has just started. An
// agent that streams a service's health from the servers cannot say.
func leaderless(meta *api.QueryMeta) bool {
	return !meta.KnownLeader && meta.QueryBackend != "streaming"
}

// nothing tells whether the answer takes away all there was.
func nothing(value any) bool {
	switch v := value.(type) {
	case []*api.ServiceEntry:
		return len(v) == 0
	case map[string]struct{}:
		return len(v) == 0
	case map[string][]export:
		return len(v) == 0
	case map[string][]*api.ServiceEntry:
		return len(v) == 0
	case imported:
		return len(v.instances) == 0
	}
	return false
}

// crowded tells whether there are more queries than may wait at a time.
func (w *watcher) crowded() bool {
	return w.slots != nil && int(w.number.Load()) > cap(w.slots)
}

// delay is how late a change may be seen because queries take turns; zero when they
// need not.
func (w *watcher) delay() time.Duration {
	if !w.crowded() {
		return 0
	}
	turns := (int(w.number.Load()) + cap(w.slots) - 1) / cap(w.slots)
	return time.Duration(turns) * w.times.turn
}

// backoff is a random part of a time that doubles with each failure, so that the
// queries of an agent that died do not return as one.
func (t *timing) backoff(failures int) time.Duration {
	longest := t.retryMax
	if failures < 16 {
		longest = min(longest, t.retry<<failures)
	}
	return longest/2 + rand.N(longest/2+1)
}

func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// statusOf is the HTTP status of an error that the agent answered with, or 0.
func statusOf(err error) int {
	var status api.StatusError
	if errors.As(err, &status) {
		return status.Code
	}
	return 0
}

// named adds to an error what was asked for and what is probably the matter.
func named(f fact, err error) error {
	if a := advice(f, err); a != "" {
		return fmt.Errorf("%s: %w (%s)", f, err, a)
	}
	return fmt.Errorf("%s: %w", f, err)
}
