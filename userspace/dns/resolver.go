package dns

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"sluice/userspace/route"
)

// Options are a Resolver's settings. A zero field stands for the value given.
type Options struct {
	Server netip.AddrPort // name server to ask; the zero value: those of resolv.conf
	Log    *slog.Logger   // slog.Default

	MinTTL     time.Duration // 1 s: names are not asked again sooner
	MaxTTL     time.Duration // 5 min: nor later
	UnknownTTL time.Duration // 30 s: for answers without TTL, as from the hosts file

	FirstWait time.Duration // 2 s: how long the first table waits for its names
	Wait      time.Duration // 500 ms: how long a later table waits for its new names

	Attempt  time.Duration // 2 s: for a server to answer one query
	Timeout  time.Duration // 15 s: for a look-up, with all its attempts
	RetryMin time.Duration // 1 s: to the next look-up after one that failed,
	RetryMax time.Duration // 30 s: growing to this
	Lookups  int           // 16: at one time
}

func (o Options) withDefaults() Options {
	o.Log = cmp.Or(o.Log, slog.Default())
	o.MinTTL = cmp.Or(o.MinTTL, time.Second)
	o.MaxTTL = cmp.Or(o.MaxTTL, 5*time.Minute)
	o.UnknownTTL = cmp.Or(o.UnknownTTL, 30*time.Second)
	o.FirstWait = cmp.Or(o.FirstWait, 2*time.Second)
	o.Wait = cmp.Or(o.Wait, 500*time.Millisecond)
	o.Attempt = cmp.Or(o.Attempt, 2*time.Second)
	o.Timeout = cmp.Or(o.Timeout, 15*time.Second)
	o.RetryMin = cmp.Or(o.RetryMin, time.Second)
	o.RetryMax = cmp.Or(o.RetryMax, 30*time.Second)
	o.Lookups = cmp.Or(o.Lookups, 16)
	return o
}

// Resolver makes tables with addresses of tables with host names.
type Resolver struct {
	opt     Options
	publish func(*route.Table)
	tables  chan *route.Table // at most one, the last that Apply got
	answers chan result       // as many as there can be look-ups, so that none waits

	// What follows belongs to Run.
	hosts   map[string]*host // all names of the source's table
	due     queue            // those that no look-up is under way for
	asking  int              // look-ups under way
	awaited int              // names that the source's table waits for

	source  *route.Table        // the last one taken
	pending time.Time           // until when it may wait to be published; zero once it was
	based   *route.Table        // the source's table that the published one is of
	last    *route.Table        // published
	changed map[string]struct{} // clusters in which addresses changed since then
}

// result is an answer and the name it is for.
type result struct {
	*host
	answer
}

// New returns a Resolver. Publish is called from within Run, with one table at a
// time.
func New(opt Options, publish func(*route.Table)) *Resolver {
	opt = opt.withDefaults()
	return &Resolver{
		opt:     opt,
		publish: publish,
		tables:  make(chan *route.Table, 1),
		answers: make(chan result, opt.Lookups),
		hosts:   map[string]*host{},
		changed: map[string]struct{}{},
	}
}

// Apply gives the next table to resolve, and does not wait for it. One that was
// not begun with yet is dropped for the new one.
func (r *Resolver) Apply(t *route.Table) {
	for {
		select {
		case r.tables <- t:
			return
		default:
		}
		select {
		case <-r.tables:
		default:
		}
	}
}

// Run resolves and publishes until the context is done.
func (r *Resolver) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var lookups sync.WaitGroup
	defer lookups.Wait()
	defer cancel()
	wake := time.NewTimer(0)
	defer wake.Stop()
	for {
		now := time.Now()
		r.ask(ctx, &lookups, now)
		r.flush(now)
		wake.Reset(time.Until(r.next()))
		select {
		case <-ctx.Done():
			return
		case t := <-r.tables:
			r.take(t)
		case a := <-r.answers:
			r.note(a)
			for len(r.answers) > 0 { // one table for all of them
				r.note(<-r.answers)
			}
		case <-wake.C:
		}
	}
}
