package route

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

func TestStore(t *testing.T) {
	var s Store
	if s.Load() != nil || s.Age() != 0 {
		t.Error("an empty store has a table")
	}
	first, second := table(t, "a"), table(t, "a", "b")
	if got := s.Swap(first).String(); got != "1 route and 1 cluster added" {
		t.Error(got)
	}
	s.swapped = s.swapped.Add(-time.Hour)
	if age := s.Age(); age < time.Hour {
		t.Errorf("age %v", age)
	}
	if got := s.Swap(second).String(); got != "1 route and 1 cluster added" || s.Load() != second {
		t.Error(got)
	}
	if age := s.Age(); age >= time.Hour || age < 0 {
		t.Errorf("age %v", age)
	}
}

// TestSwapsUnderLoad changes tables all the time while names are looked up and
// endpoints picked: a name always leads to its own cluster, and that to its own
// endpoints.
func TestSwapsUnderLoad(t *testing.T) {
	const names, swaps, readers = 50, 200, 3
	var s Store
	own := func(i, generation int) *Cluster {
		c := &Cluster{Name: fmt.Sprint("c", i), Policy: Policy(generation % 3)}
		for j := range 1 + generation%3 {
			c.Endpoints = append(c.Endpoints, at(addr(1000*i+j).String(), 1+generation%5))
		}
		return c
	}
	b := NewBuilder(nil, "test")
	for i := range names {
		put(t, b, own(i, 0), &Route{Name: fmt.Sprintf("n%d.x", i), Cluster: fmt.Sprint("c", i)})
	}
	s.Swap(build(t, b))

	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range readers {
		wg.Go(func() {
			for i := 0; ; i = (i + 1) % names {
				select {
				case <-stop:
					return
				default:
				}
				r, c := s.Load().Lookup(fmt.Appendf(nil, "n%d.x", i))
				if r == nil || r.Refuse != "" { // deleted or refused for a moment
					continue
				}
				e, to, ok := c.Pick(nil)
				if !ok || c.Name != fmt.Sprint("c", i) || to.Addr().Compare(addr(1000*i).Addr()) < 0 || to.Addr().Compare(addr(1000*i+3).Addr()) > 0 {
					t.Errorf("n%d.x leads to %s and %v", i, c.Name, to)
					return
				}
				e.Load.Active.Add(1)
				r.Load.Active.Add(1)
				e.Load.Active.Add(-1)
				r.Load.Active.Add(-1)
			}
		})
	}
	for generation := range swaps {
		i := generation * 7 % names
		name := fmt.Sprintf("n%d.x", i)
		switch generation % 4 {
		case 0:
			b.DeleteRoute(name)
		case 1:
			put(t, b, &Route{Name: name, Refuse: "for now"})
		default:
			put(t, b, &Route{Name: name, Cluster: fmt.Sprint("c", i)})
		}
		put(t, b, own(i, generation))
		s.Swap(build(t, b))
	}
	close(stop)
	wg.Wait()
	for r := range s.Load().Routes() {
		if n := r.Load.Active.Load(); n != 0 {
			t.Errorf("%s has %d flows left", r.Name, n)
		}
	}
}
