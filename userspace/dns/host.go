package dns

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// host is a name and what is known of it.
type host struct {
	name     string
	clusters []string     // that have it
	addrs    []netip.Addr // the last good ones
	state    state
	failures int       // look-ups since the last that was wholly good
	due      time.Time // for the next look-up
	pos      int       // 1 + its place in the queue; 0: not in it
	awaited  bool      // by a table that is to be published
	gone     bool      // from the source's table
}

// state is how the last look-up went. Only changes of it are logged.
type state uint8

const (
	unknown state = iota
	good
	partial // A or AAAA records only; the question for the others was not answered
	failed
)

// ask begins the look-ups that are due, as many as may be under way.
func (r *Resolver) ask(ctx context.Context, lookups *sync.WaitGroup, now time.Time) {
	for r.asking < r.opt.Lookups && len(r.due) > 0 && !r.due[0].due.After(now) {
		h := heap.Pop(&r.due).(*host)
		r.asking++
		lookups.Go(func() { r.answers <- result{h, r.lookup(ctx, h.name)} })
	}
}

// next is when there is something to do if nothing comes in before.
func (r *Resolver) next() time.Time {
	next := time.Now().Add(time.Hour)
	if r.asking < r.opt.Lookups && len(r.due) > 0 && r.due[0].due.Before(next) {
		next = r.due[0].due
	}
	if !r.pending.IsZero() && r.pending.Before(next) {
		next = r.pending
	}
	return next
}

// note takes over what a look-up found.
func (r *Resolver) note(a result) {
	r.asking--
	h := a.host
	if h.gone {
		return
	}
	r.unawait(h)
	old := h.addrs
	h.addrs = a.merge(old)
	if !slices.Equal(h.addrs, old) {
		for _, c := range h.clusters {
			r.changed[c] = struct{}{}
		}
		r.opt.Log.Debug("addresses of a host changed", "host", h.name, "from", old, "to", h.addrs)
	}
	was := h.state
	switch {
	case a.err != nil:
		h.state = failed
	case a.lostV4 || a.lostV6:
		h.state = partial
	default:
		h.state = good
	}
	if h.state != was {
		r.logState(h, was, a.err)
	}
	h.due = time.Now().Add(r.delay(h, a.answer))
	heap.Push(&r.due, h)
}

func (r *Resolver) logState(h *host, was state, err error) {
	log := r.opt.Log.With("host", h.name, "addresses", h.addrs)
	switch h.state {
	case failed:
		log.Warn("host does not resolve, keeping the addresses it had", "err", err)
	case partial:
		log.Warn("host resolves in part: a question for A or AAAA records was not answered")
	case good:
		if was != unknown {
			log.Info("host resolves again")
		}
	}
}

// delay is how long to wait for the next look-up of a host after this answer.
func (r *Resolver) delay(h *host, a answer) time.Duration {
	ttl := r.opt.UnknownTTL
	if a.hasTTL {
		ttl = min(max(a.ttl, r.opt.MinTTL), r.opt.MaxTTL)
	}
	if h.state == good {
		h.failures = 0
		return ttl
	}
	retry := r.opt.RetryMax
	if shift := min(h.failures, 30); r.opt.RetryMin <= retry>>shift {
		retry = r.opt.RetryMin << shift
	}
	h.failures++
	// Names that failed together must not come back together.
	retry = retry/2 + rand.N(retry/2+1)
	if h.state == partial {
		return min(ttl, retry)
	}
	return retry
}

// meet makes the known hosts those of the map, which has the clusters of each
// name. New ones are due at once.
func (r *Resolver) meet(names map[string][]string) {
	for name, h := range r.hosts {
		if names[name] != nil {
			continue
		}
		h.gone = true
		r.unawait(h)
		if h.pos > 0 {
			heap.Remove(&r.due, h.pos-1)
		}
		delete(r.hosts, name)
	}
	now := time.Now()
	for name, clusters := range names {
		h := r.hosts[name]
		if h == nil {
			h = &host{name: name, due: now, awaited: true}
			r.hosts[name] = h
			r.awaited++
			heap.Push(&r.due, h)
		}
		h.clusters = clusters
	}
}

func (r *Resolver) unawait(h *host) {
	if h.awaited {
		h.awaited = false
		r.awaited--
	}
}

// queue is a heap by time.
type queue []*host

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].pos, q[j].pos = i+1, j+1
}

func (q *queue) Push(x any) {
	h := x.(*host)
	*q = append(*q, h)
	h.pos = len(*q)
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	h := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	h.pos = 0
	return h
}
