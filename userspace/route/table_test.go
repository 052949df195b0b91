package route

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestLookup(t *testing.T) {
	web := table(t, "web.x", "*.x", "*.dc2.x", "a.dc2.x", "*.b.dc2.x", "local")
	any := table(t, "*", "web.x")
	for _, test := range []struct {
		table      *Table
		name, want string
	}{
		{web, "web.x", "web.x"},
		{web, "other.x", "*.x"},
		{web, "two.labels.x", "*.x"},
		{web, "sub.web.x", "*.x"}, // an exact name does not cover what is below it
		{web, "x", ""},            // "*.x" is not "x"
		{web, "dc2.x", "*.x"},
		{web, "a.dc2.x", "a.dc2.x"},
		{web, "b.dc2.x", "*.dc2.x"},
		{web, "c.b.dc2.x", "*.b.dc2.x"},
		{web, "e.d.c.b.dc2.x", "*.b.dc2.x"},
		{web, "ab.dc2.x", "*.dc2.x"},
		{web, "dc2.xx", ""},
		{web, "xdc2.x", "*.x"}, // a suffix counts by whole labels
		{web, "local", "local"},
		{web, "locals", ""},
		{web, "y", ""},
		{web, "web.y", ""},
		{web, "", ""},
		{web, ".", ""},
		{web, ".x", ""}, // no label before it
		{web, ".dc2.x", ""},
		{web, "WEB.X", ""},
		{web, strings.Repeat("a.", 200) + "x", "*.x"}, // too long for a name, still safe
		{web, strings.Repeat("a.", 200) + "y", ""},
		{web, strings.Repeat(".", 300), ""},
		{any, "web.x", "web.x"},
		{any, "other.x", "*"},
		{any, "x", "*"},
		{any, "", ""},
		{&Table{}, "x", ""},
	} {
		r, c := test.table.Lookup([]byte(test.name))
		if test.want == "" {
			if r != nil || c != nil {
				t.Errorf("%q leads to %v, %v", test.name, r, c)
			}
			continue
		}
		if r == nil || r.Name != test.want || c == nil || c.Name != test.want {
			t.Errorf("%q leads to %+v, %+v, want %q", test.name, r, c, test.want)
		}
	}
}

func TestLookupRefused(t *testing.T) {
	tab := table(t, "*.x", &Route{Name: "http.x", Refuse: "needs TLS to end here"})
	r, c := tab.Lookup([]byte("http.x"))
	if r == nil || r.Refuse != "needs TLS to end here" || c != nil {
		t.Errorf("got %+v, %+v", r, c)
	}
}

func TestLookupLongestName(t *testing.T) {
	long := strings.Repeat("a.", 126) + "a" // 253 bytes and 127 labels
	tab := table(t, long, "*"+long[1:])
	if r, _ := tab.Lookup([]byte(long)); r == nil || r.Name != long {
		t.Errorf("got %v", r)
	}
	if r, _ := tab.Lookup([]byte("b" + long[1:])); r == nil || r.Name != "*"+long[1:] {
		t.Errorf("got %v", r)
	}
}

func TestTableByName(t *testing.T) {
	tab := table(t, "web.x", "*.x", "*")
	for _, name := range []string{"web.x", "*.x", "*"} {
		if r := tab.Route(name); r == nil || r.Name != name {
			t.Errorf("route %q: %v", name, r)
		}
		if c := tab.Cluster(name); c == nil || c.Name != name {
			t.Errorf("cluster %q: %v", name, c)
		}
	}
	for _, name := range []string{"", ".x", "x", "other.x"} {
		if r := tab.Route(name); r != nil {
			t.Errorf("route %q: %v", name, r)
		}
	}
	if c := tab.Cluster("x"); c != nil {
		t.Errorf("cluster x: %v", c)
	}
	if routes, clusters := tab.Len(); routes != 3 || clusters != 3 {
		t.Errorf("%d routes, %d clusters", routes, clusters)
	}
	want := fmt.Sprintf("table %d from test: 3 routes, 3 clusters", tab.Version())
	if tab.String() != want || tab.Source() != "test" || tab.Built().IsZero() {
		t.Errorf("%v, want %v", tab, want)
	}
	for range tab.Routes() { // may be left early
		break
	}
}

// reference is the look-up rule, written down plainly.
func reference(routes map[string]*Route, name string) *Route {
	if r := routes[name]; r != nil {
		return r
	}
	var best *Route
	for pattern, r := range routes {
		suffix, wild := strings.CutPrefix(pattern, "*")
		if wild && strings.HasSuffix(name, suffix) && len(name) > len(suffix) &&
			(best == nil || len(pattern) > len(best.Name)) {
			best = r
		}
	}
	return best
}

// randomName has up to five labels out of three, so that random names hit random
// routes often.
func randomName(rng *rand.Rand) string {
	labels := make([]string, 1+rng.IntN(5))
	for i := range labels {
		labels[i] = string(rune('a' + rng.IntN(3)))
	}
	return strings.Join(labels, ".")
}

func randomPattern(rng *rand.Rand) string {
	switch rng.IntN(20) {
	case 0:
		return "*"
	case 1, 2, 3, 4, 5, 6:
		return "*." + randomName(rng)
	default:
		return randomName(rng)
	}
}

func TestLookupLikeReference(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 0))
		b := NewBuilder(nil, "test")
		put(t, b, &Cluster{Name: "c"})
		for range 3 { // the later rounds edit a built table
			for range rng.IntN(60) {
				if rng.IntN(3) == 0 {
					b.DeleteRoute(randomPattern(rng))
				} else {
					put(t, b, &Route{Name: randomPattern(rng), Cluster: "c"})
				}
			}
			tab := build(t, b)
			routes, _ := contents(tab)
			for range 200 {
				name := randomName(rng)
				got, _ := tab.Lookup([]byte(name))
				if want := reference(routes, name); got != want {
					t.Fatalf("seed %d: %q leads to %v, want %v", seed, name, got, want)
				}
			}
		}
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	tab := table(t, "web.x", "*.dc2.x")
	for _, name := range []string{"web.x", "a.b.c.d.e.dc2.x", "a.very.long.name.that.is.not.in.the.table.x"} {
		name := []byte(name)
		if n := testing.AllocsPerRun(100, func() { tab.Lookup(name) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// FuzzRouteName: a name that passes its check is found under what it says, and
// looking up any bytes is safe.
func FuzzRouteName(f *testing.F) {
	for _, name := range []string{"*", "*.x", "web.x", "a..b", ".", "*.", "*.*.x", "\xff", strings.Repeat("a.", 127)} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		b := NewBuilder(nil, "test")
		put(t, b, &Cluster{Name: "c"})
		err := b.PutRoute(&Route{Name: name, Cluster: "c"})
		tab := build(t, b)
		r, c := tab.Lookup([]byte(strings.Replace(name, "*", "a", 1)))
		if found := r != nil && r.Name == name && c != nil; found != (err == nil) {
			t.Errorf("%q: %v, but the look-up gives %v, %v", name, err, r, c)
		}
		b.DeleteRoute(name)
		if tab := build(t, b); tab.routes.len() != 0 || tab.wild != [maxLabels]uint32{} || tab.refs.len() != 0 {
			t.Errorf("%q: deleted, but something is left", name)
		}
	})
}
