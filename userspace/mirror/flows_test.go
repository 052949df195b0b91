package mirror

import (
	"fmt"
	"sync"
	"testing"
)

// TestFlows has flows come and go while their routes do: none is counted into another
// route, and none is left in the end.
func TestFlows(t *testing.T) {
	s, _ := newStore(Limits{Routes: 3}) // six ids, so that they are used again
	m := open(t, s)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for i := range 3 {
		wg.Go(func() {
			name := fmt.Sprint("r", i)
			for {
				select {
				case <-stop:
					return
				default:
				}
				id, stats := m.Enter(name)
				for j := range 3 {
					if e := m.entry(fmt.Sprint("r", j)); j != i && id != 0 && e != nil && e.id == id {
						t.Errorf("r%d has id %d, which a flow of %s holds", j, id, name)
					}
				}
				m.Policy(name)
				stats.Active.Add(-1)
			}
		})
	}
	for turn := range 300 {
		mirrored(t, m, names(t, nil, fmt.Sprint("r", turn%3), fmt.Sprint("r", (turn+1)%3)))
	}
	close(stop)
	wg.Wait()
	for id := range s.Stats {
		if n := s.Stats[id].Active.Load(); n != 0 {
			t.Errorf("%d flows of id %d are left", n, id)
		}
	}
}

// TestRecount has a view's counters follow those of the table that it was read from, and
// of no other one.
func TestRecount(t *testing.T) {
	s, _ := newStore(Limits{Routes: 3})
	m := open(t, s)
	mirrored(t, m, names(t, nil, "a", "b"))
	v, err := Read(s)
	if err != nil {
		t.Fatal(err)
	}
	refreshed := uint32(0)
	s.Refresh = func(upTo uint32) error { refreshed = upTo; return nil }
	m.Enter("b")
	id, _ := m.Enter("b")
	s.Traffic.(fakeTraffic)[id] = TrafficRecord{Bytes: [2]uint64{7, 8}}
	if same, err := v.Recount(s); !same || err != nil {
		t.Fatalf("Recount: %t, %v", same, err)
	}
	if state, _ := v.State("b"); state.Counts.Flows != 2 || state.Counts.Active != 2 || state.Traffic.Bytes != [2]uint64{7, 8} {
		t.Errorf("b is %+v", state)
	}
	if state, _ := v.State("a"); state.Counts != (Counts{}) {
		t.Errorf("a is %+v", state)
	}
	if refreshed < id {
		t.Errorf("refreshed up to %d, b is %d", refreshed, id)
	}
	mirrored(t, m, names(t, nil, "b", "c"))
	if same, err := v.Recount(s); same || err != nil {
		t.Errorf("Recount after a change: %t, %v", same, err)
	}
}
