package admission

import (
	"hash/maphash"
	"net/netip"
	"sync"
)

// sources counts flows by source. It is cut in pieces, each with a lock of its
// own, so that loops seldom meet.
type sources struct {
	max    int
	seed   maphash.Seed
	pieces [64]piece
}

type piece struct {
	mu    sync.Mutex
	flows map[netip.Addr]int // never 0
}

func newSources(limit int) *sources {
	s := &sources{max: limit, seed: maphash.MakeSeed()}
	for i := range s.pieces {
		s.pieces[i].flows = make(map[netip.Addr]int)
	}
	return s
}

// unit is what counts as one source. A host of IPv6 has a whole /64 to take
// addresses from (RFC 4291, 2.5.4; RFC 8981 makes hosts do so), so a limit by
// address would be none.
func unit(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a
	}
	p, err := a.Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}

func (s *sources) piece(u netip.Addr) *piece {
	return &s.pieces[maphash.Comparable(s.seed, u)%uint64(len(s.pieces))]
}

// count is how many flows a source has.
func (s *sources) count(a netip.Addr) int {
	u := unit(a)
	p := s.piece(u)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.flows[u]
}

func (s *sources) enter(a netip.Addr) bool {
	u := unit(a)
	p := s.piece(u)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.flows[u] >= s.max {
		return false
	}
	p.flows[u]++
	return true
}

func (s *sources) leave(a netip.Addr) {
	u := unit(a)
	p := s.piece(u)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.flows[u]--; p.flows[u] <= 0 {
		delete(p.flows, u)
	}
}
