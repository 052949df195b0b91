package consul

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestQueries: none waits on index 0, and one that waits is not asked again for nothing.
func TestQueries(t *testing.T) {
	a := newFakeAgent(t, false)
	a.services(three)
	r := a.start(nil)
	r.has(wantThree...)
	for i := range 5 {
		a.services(map[string][]string{"a": {fmt.Sprintf("10.0.1.%d:80", i)}, "b": {"10.0.0.2:80"}, "c": {"10.0.0.3:80"}})
		r.has(fmt.Sprintf("a=10.0.1.%d:80", i), "b=10.0.0.2:80", "c=10.0.0.3:80")
	}
	for _, key := range []string{"/v1/catalog/services", connectPath + "a", "/v1/config/service-resolver"} {
		indexes := a.indexes(key)
		if slices.Contains(indexes, "0") {
			t.Errorf("%s: waited on index 0: %v", key, indexes)
		}
		// One to begin with, and for each change one that is answered and one that waits.
		if len(indexes) > 20 {
			t.Errorf("%s: asked %d times in 6 changes", key, len(indexes))
		}
	}
}

// TestBudget: on plain HTTP no more queries wait than there is room for, and changes
// come through all the same.
func TestBudget(t *testing.T) {
	a := newFakeAgent(t, false)
	many, want := manyServices(60)
	a.services(many)
	r := a.start(func(s *Source) { s.Connections, s.times.turn = 20, 10*time.Millisecond })
	r.has(want...)
	r.logged("use HTTPS or -source xds")
	many["s7"] = []string{"10.9.0.7:80"}
	want[7] = "s7=10.9.0.7:80"
	a.services(many)
	r.has(want...)
	a.sees(func() {
		if a.most > 20 {
			t.Errorf("%d queries were at the agent at a time, of 20 allowed", a.most)
		}
	})
	if r.Status().Delay == 0 {
		t.Error("no delay is told")
	}
}

// TestHTTP2: over TLS many queries share few connections, and all of them wait.
func TestHTTP2(t *testing.T) {
	a := newFakeAgent(t, true)
	many, want := manyServices(300)
	a.services(many)
	r := a.start(nil)
	r.has(want...)
	eventually(t, "all queries to wait", func() (all bool) {
		a.sees(func() { all = a.waiting >= len(many) })
		return all
	}, nil)
}
