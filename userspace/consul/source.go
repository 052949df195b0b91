package consul

import (
	"context"
	"errors"
	"net/http"
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
	defer cancel()
	r := &running{
		watcher:  newWatcher(s),
		compiler: newCompiler(newView(s)),
		publish:  publish,
		begun:    time.Now(),
		pending:  map[fact]struct{}{},
		failing:  map[fact]failure{},
		filtered: map[fact]bool{},
	}
	r.compiler.loss.Begin(s.Last == nil)
	return r.run(ctx)
}

// running is a Source at work.
type running struct {
	*watcher
	compiler *compiler
	publish  func(*route.Table)
	begun    time.Time // for how long the first table took

	pending  map[fact]struct{} // asked for, and never answered
	failing  map[fact]failure  // that failed the last time
	filtered map[fact]bool     // whether the token's rights made the last answer shorter
	away     bool              // Consul does not answer as it should
	crowdSay bool              // it was told that queries take turns

	flushAt time.Time // when the burst of answers is over; zero if there is none
	burst   time.Time // when that began
}

// failure is why a query failed, and whether the log has it.
type failure struct {
	err  error
	told bool
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
	if r.compiler.trustDomain == "" {
		r.ask1(ctx, fact{kind: aboutRoots})
		return
	}
	for f := range r.running {
		if _, still := r.compiler.wants[f]; !still {
			r.stop(f)
			delete(r.pending, f)
			delete(r.failing, f)
			delete(r.filtered, f)
		}
	}
	if len(r.running) == len(r.compiler.wants) {
		return
	}
	for f := range r.compiler.wants {
		r.ask1(ctx, f)
	}
	r.tellCrowd()
}

func (r *running) ask1(ctx context.Context, f fact) {
	if !r.asks(f) {
		r.pending[f] = struct{}{}
		r.start(ctx, f)
	}
}

func (r *running) tellCrowd() {
	delay := r.delay()
	if delay > 0 && !r.crowdSay {
		r.Log.Error("consul: the mesh needs more queries than plain HTTP has room for, so they take turns and changes are seen late: use HTTPS or -source xds",
			"queries", r.number.Load(), "connections", r.Connections, "delay", delay)
	}
	r.crowdSay = delay > 0
}

// take makes an answer count.
func (r *running) take(a answer, now time.Time) {
	if !r.asks(a.fact) {
		return
	}
	if a.err != nil {
		r.failed(a.fact, a.err)
		return
	}
	r.succeeded(a.fact, now)
	was, known := r.filtered[a.fact]
	if a.filtered && known && !was {
		r.compiler.warn("the token lost rights: what is missing in the answer stays as it was", a.fact.String(), errors.New("it lacks "+right(a.kind)))
		return
	}
	if a.filtered && !known {
		r.compiler.warn("the token does not see all there is: what it may not read is as if it were not there",
			a.fact.String(), errors.New("it lacks "+right(a.kind)))
	}
	r.filtered[a.fact] = a.filtered
	if a.reset {
		r.Log.Warn("consul: index went backwards: were the servers restored?", "of", a.fact)
		r.compiler.loss.Begin(false)
		r.compiler.loss.Answered(now)
	}
	delete(r.pending, a.fact)
	r.compiler.take(a.fact, a.value)
}

// failed notes that a query failed. For the first table, what the token may not read,
// and another datacenter that does not answer, are as if they were not there.
func (r *running) failed(f fact, err error) {
	forbidden := statusOf(err) == http.StatusForbidden
	if forbidden && f.kind > aboutInstances || f.remote() {
		delete(r.pending, f)
	}
	was, again := r.failing[f]
	// While Consul is away, one line is enough for all queries.
	told := !r.away || again && was.told
	if told && (!again || was.err.Error() != err.Error()) {
		r.Log.Warn("consul: query failed", "of", f, "err", err, "probably", advice(f, err))
	}
	r.failing[f] = failure{err, told}
	if r.away || forbidden || f.remote() {
		return
	}
	r.away = true
	r.compiler.loss.Begin(r.compiler.table == nil)
	r.update(func(s *Status) {
		if s.Connected {
			s.Connected, s.Since = false, time.Now()
		}
		s.Err = named(f, err)
	})
}

func (r *running) succeeded(f fact, now time.Time) {
	if was, failed := r.failing[f]; failed {
		delete(r.failing, f)
		if was.told {
			r.Log.Info("consul: query is answered again", "of", f)
		}
	}
	for other, failure := range r.failing {
		if !other.remote() && statusOf(failure.err) != http.StatusForbidden {
			return
		}
	}
	if r.away || !r.Status().Connected {
		r.away = false
		r.compiler.loss.Answered(now)
		r.update(func(s *Status) { s.Connected, s.Since, s.Err = true, now, nil })
	}
}

// flush publishes what has changed, once there is a whole table.
func (r *running) flush(now time.Time) {
	c := r.compiler
	if !c.whole && (r.lacks(now) || c.names == nil) {
		return
	}
	first := !c.whole
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
		s.Kept, s.Queries, s.Delay = len(c.loss.Kept()), len(r.running), r.delay()
	})
}

// lacks tells whether there is something to wait for before the first table.
func (r *running) lacks(now time.Time) bool {
	for f := range r.pending {
		if !f.optional() || now.Before(r.optionalAt()) {
			return true
		}
	}
	return false
}

// optionalAt is when the first table does not wait for peers any more.
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
