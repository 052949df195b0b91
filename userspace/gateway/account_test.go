package gateway

import (
	"sync"
	"testing"

	"sluice/userspace/flow"
)

// ledger is the accounts of all routes.
type ledger struct {
	mu     sync.Mutex
	routes map[string]*entry
}

type entry struct {
	l              *ledger
	opened, failed int
	sent, received uint64
	ends           []flow.End
}

func (l *ledger) account(route string) flow.Account {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.routes == nil {
		l.routes = map[string]*entry{}
	}
	if l.routes[route] == nil {
		l.routes[route] = &entry{l: l}
	}
	l.routes[route].opened++
	return l.routes[route]
}

func (e *entry) lock() func() { e.l.mu.Lock(); return e.l.mu.Unlock }

func (e *entry) RouteID() uint32 { return 7 }

func (e *entry) ConnectFailed() { defer e.lock()(); e.failed++ }

func (e *entry) Moved(sent, received uint64) {
	defer e.lock()()
	e.sent += sent
	e.received += received
}

func (e *entry) Ended(end flow.End) { defer e.lock()(); e.ends = append(e.ends, end) }

// get is a copy of an entry.
func (l *ledger) get(route string) entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.routes[route]; e != nil {
		return *e
	}
	return entry{}
}

// TestAccounts: a route learns of its flows' beginnings, bytes while they live, and
// ends; of refusals too, and of nothing else.
func TestAccounts(t *testing.T) {
	var l ledger
	r := start(t, func(s *setup) {
		s.accounts = l.account
		s.lead("api.test", echo(t))
		s.lead("dead.test", refusing(t))
		route, _ := s.lead("limited.test", echo(t))
		route.MaxFlows = 1
	})
	h := hello(t, "api.test")
	c := r.open(h)
	c.expect(h)
	if got := l.get("api.test"); got.opened != 1 || got.sent != 0 || len(got.ends) != 0 {
		t.Errorf("before it was asked for: %+v", got)
	}
	for range 2 { // the second time there is nothing new
		if err := r.Book(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := l.get("api.test"); got.sent != uint64(len(h)) || got.received != uint64(len(h)) {
			t.Errorf("while it lives: %+v, want %d bytes each way", got, len(h))
		}
	}
	r.seen.mu.Lock()
	if rtts := r.seen.rtts; len(rtts) != 2 || rtts[0][0] <= 0 || rtts[0][1] <= 0 {
		t.Errorf("round-trip times: %v", rtts)
	}
	r.seen.mu.Unlock()
	c.CloseWrite()
	c.rest()
	r.ends(1)
	if got := l.get("api.test"); got.sent != uint64(len(h)) || len(got.ends) != 1 || got.ends[0] != flow.Closed {
		t.Errorf("at its end: %+v", got)
	}

	r.open(hello(t, "dead.test")).rest()
	r.ends(2)
	if got := l.get("dead.test"); got.failed != 1 || len(got.ends) != 1 || got.ends[0] != flow.ConnectFailed {
		t.Errorf("an endpoint that does not answer: %+v", got)
	}
	first := r.open(hello(t, "limited.test"))
	first.expect(hello(t, "limited.test")[:1])
	r.open(hello(t, "limited.test")).rest()
	r.ends(3)
	if got := l.get("limited.test"); got.opened != 2 || len(got.ends) != 1 || got.ends[0] != flow.LimitRoute {
		t.Errorf("one flow too many: %+v", got)
	}
	r.open(hello(t, "unknown.test")).rest()
	r.ends(4)
	if got := l.get("unknown.test"); got.opened != 0 {
		t.Errorf("a name without a route: %+v", got)
	}
}
