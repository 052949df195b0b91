package route

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// counts picks n times and counts by address.
func counts(t *testing.T, c *Cluster, n int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		e, addr, ok := c.Pick(nil)
		if !ok || !slices.Contains(e.Addrs, addr) {
			t.Fatalf("picked %v, %v, %v", e, addr, ok)
		}
		got[addr.String()]++
	}
	return got
}

func TestRoundRobinIsExact(t *testing.T) {
	dns := Endpoint{Host: "db.x", Port: 80, Addrs: addrs("10.0.1.1:80", "10.0.1.2:80", "[fd00::1]:80"), Weight: 2}
	for _, test := range []struct {
		cluster Cluster
		picks   int
		want    map[string]int
	}{
		{Cluster{Endpoints: []Endpoint{at("10.0.0.1:80", 128)}}, 3, map[string]int{"10.0.0.1:80": 3}},
		{Cluster{Endpoints: []Endpoint{at("10.0.0.1:80", 9), at("10.0.0.2:80", 9)}}, 4,
			map[string]int{"10.0.0.1:80": 2, "10.0.0.2:80": 2}},
		{Cluster{Endpoints: []Endpoint{at("10.0.0.1:80", 60), at("10.0.0.2:80", 20), at("10.0.0.3:80", 40)}}, 6,
			map[string]int{"10.0.0.1:80": 3, "10.0.0.2:80": 1, "10.0.0.3:80": 2}},
		{Cluster{Endpoints: []Endpoint{at("10.0.0.1:80", 128), at("10.0.0.2:80", 127), at("10.0.0.3:80", 1)}}, 512,
			map[string]int{"10.0.0.1:80": 256, "10.0.0.2:80": 254, "10.0.0.3:80": 2}},
		// Each strict address has the endpoint's weight, logical ones share it.
		{Cluster{Endpoints: []Endpoint{at("10.0.0.1:80", 4), dns}}, 15,
			map[string]int{"10.0.0.1:80": 6, "10.0.1.1:80": 3, "10.0.1.2:80": 3, "[fd00::1]:80": 3}},
		{Cluster{Discovery: Logical, Endpoints: []Endpoint{at("10.0.0.1:80", 4), dns}}, 27,
			map[string]int{"10.0.0.1:80": 18, "10.0.1.1:80": 3, "10.0.1.2:80": 3, "[fd00::1]:80": 3}},
	} {
		c := cluster(t, test.cluster)
		for range 3 { // it holds from wherever the counting begins
			if diff := cmp.Diff(test.want, counts(t, c, test.picks)); diff != "" {
				t.Errorf("%+v: %s", test.cluster.Endpoints, diff)
			}
		}
	}
}

// TestRoundRobinSpreads: over all lines up to a length, an endpoint's share of
// the picks is near its weight at any time and not only at the end of a round.
func TestRoundRobinSpreads(t *testing.T) {
	const furthest = 3.5 // picks ahead or behind
	for length := uint64(2); length <= 1000; length++ {
		step := stride(length, 1)
		for _, weight := range []uint64{1, length / 3, length / 2, length - 1} {
			picks := 0
			for n := uint64(1); n <= length; n++ {
				if n*step%length < weight {
					picks++
				}
				fair := float64(n*weight) / float64(length)
				if math.Abs(float64(picks)-fair) > furthest {
					t.Fatalf("weight %d of %d: %d of %d picks, fair are %.1f", weight, length, picks, n, fair)
				}
			}
			if picks != int(weight) {
				t.Fatalf("weight %d of %d got %d picks of a round", weight, length, picks)
			}
		}
	}
}

// TestRoundRobinGoesOn: a table that changes at every pick does not send all
// flows to the same endpoint.
func TestRoundRobinGoesOn(t *testing.T) {
	b := NewBuilder(nil, "test")
	got := map[string]int{}
	for i := range 30 {
		put(t, b, &Cluster{Name: "web", Endpoints: []Endpoint{at("10.0.0.1:80", 1+i%2), at("10.0.0.2:80", 1+i%2), at("10.0.0.3:80", 1+i%2)}})
		_, addr, _ := build(t, b).Cluster("web").Pick(nil)
		got[addr.String()]++
	}
	if diff := cmp.Diff(map[string]int{"10.0.0.1:80": 10, "10.0.0.2:80": 10, "10.0.0.3:80": 10}, got); diff != "" {
		t.Error(diff)
	}
}

// within tells whether n of all has the probability p, give or take five standard
// deviations.
func within(n, all int, p float64) bool {
	return math.Abs(float64(n)-float64(all)*p) <= 5*math.Sqrt(float64(all)*p*(1-p))
}

func TestRandomByWeight(t *testing.T) {
	c := cluster(t, Cluster{Policy: Random, Endpoints: []Endpoint{at("10.0.0.1:80", 30), at("10.0.0.2:80", 10), at("10.0.0.3:80", 60)}})
	const n = 20000
	got := counts(t, c, n)
	for addr, p := range map[string]float64{"10.0.0.1:80": .3, "10.0.0.2:80": .1, "10.0.0.3:80": .6} {
		if !within(got[addr], n, p) {
			t.Errorf("%s: %d of %d picks, want %v", addr, got[addr], n, p)
		}
	}
}

func TestLeastRequest(t *testing.T) {
	c := cluster(t, Cluster{Policy: LeastRequest, Endpoints: []Endpoint{at("10.0.0.1:80", 1), at("10.0.0.2:80", 3)}})
	// Of two it finds the better one always, so that flows that stay come to lie
	// exactly by weight.
	for range 400 {
		e, _, _ := c.Pick(nil)
		e.Load.Active.Add(1)
	}
	if a, b := c.Endpoints[0].Load.Active.Load(), c.Endpoints[1].Load.Active.Load(); a != 100 || b != 300 {
		t.Errorf("%d and %d flows, want 100 and 300", a, b)
	}
	// One that is much busier is left alone.
	c.Endpoints[1].Load.Active.Store(1000)
	if got := counts(t, c, 50); got["10.0.0.1:80"] != 50 {
		t.Errorf("picks went to the busy endpoint: %v", got)
	}
}

func TestLeastRequestOfMany(t *testing.T) {
	var endpoints []Endpoint
	for i := range 50 {
		endpoints = append(endpoints, at(addr(i).String(), 1+i%2*3))
	}
	c := cluster(t, Cluster{Policy: LeastRequest, Endpoints: endpoints})
	for range 50 * 40 {
		e, _, _ := c.Pick(nil)
		e.Load.Active.Add(1)
	}
	for i := range c.Endpoints {
		e := &c.Endpoints[i]
		// The mean is 16 flows for a weight of 1. Two choices keep all near it:
		// by chance alone, one in fifty would lie 9 away.
		if per := float64(e.Load.Active.Load()) / float64(e.Weight); per < 10 || per > 20 {
			t.Errorf("%v with weight %d has %d flows", e, e.Weight, e.Load.Active.Load())
		}
	}
	one := cluster(t, Cluster{Policy: LeastRequest, Endpoints: endpoints[:1]})
	counts(t, one, 5)
}

func TestPanicRule(t *testing.T) {
	// Endpoints are written by their health; "." is a host not resolved yet, and
	// "2" and "3" are critical hosts with two and three addresses.
	for _, test := range []struct {
		threshold    int
		health, want string
		panicking    bool
	}{
		{0, "pppp", "pppp", false},
		{0, "pwcc", "pw", false}, // 50 % is not under 50 %
		{0, "pccc", "pccc", true},
		{0, "pc", "p", false},
		{0, "pcc", "pcc", true},
		{0, "cc", "cc", true},
		{0, "c", "c", true},
		{0, "", "", false},
		{0, ".", "", false},
		{0, "p.", "p", false},
		{0, "pc..", "p", false}, // unresolved hosts count on neither side
		{0, "p2", "p2", true},   // strict addresses count each
		{0, "ppp3", "ppp", false},
		{0, "pp3", "pp3", true},
		{1, "pccccccccc", "p", false},
		{1, "cc", "cc", true},
		{100, "pppp", "pppp", false},
		{100, "pppc", "pppc", true},
		{100, "pw", "pw", false},
		{NoPanic, "pccc", "p", false},
		{NoPanic, "cc", "", false},
		{NoPanic, "w", "w", false},
	} {
		c := cluster(t, Cluster{PanicThreshold: test.threshold, Endpoints: byHealth(test.health)})
		endpoints, panicking := c.Usable()
		got := ""
		for _, e := range endpoints {
			got += e.Host[:1]
		}
		if sorted(got) != sorted(test.want) || panicking != test.panicking {
			t.Errorf("%d %% of %q: usable %q, panic %v; want %q, %v", test.threshold, test.health, got, panicking, test.want, test.panicking)
		}
		if _, _, ok := c.Pick(nil); ok != (test.want != "") {
			t.Errorf("%d %% of %q: pick says %v", test.threshold, test.health, ok)
		}
	}
}

func sorted(s string) string {
	b := []byte(s)
	slices.Sort(b)
	return string(b)
}

func byHealth(list string) []Endpoint {
	var out []Endpoint
	for i, h := range list {
		e := Endpoint{Host: fmt.Sprintf("%c%d", h, i), Port: 80, Addrs: []netip.AddrPort{addr(10 * i)}}
		switch h {
		case 'w':
			e.Health = Warning
		case 'c':
			e.Health = Critical
		case '.':
			e.Host, e.Addrs = fmt.Sprint("none", i), nil
		case '2', '3':
			e.Health = Critical
			for len(e.Addrs) < int(h-'0') {
				e.Addrs = append(e.Addrs, addr(10*i+len(e.Addrs)))
			}
		}
		out = append(out, e)
	}
	return out
}

func TestPanicCountsLogicalOnce(t *testing.T) {
	c := cluster(t, Cluster{Discovery: Logical, Endpoints: byHealth("p3")})
	if endpoints, panicking := c.Usable(); len(endpoints) != 1 || panicking {
		t.Errorf("%v, %v", endpoints, panicking)
	}
}

// TestPickTriesAll fails every connect: each address comes once, then no more.
func TestPickTriesAll(t *testing.T) {
	endpoints := []Endpoint{
		at("10.0.0.1:80", 100), at("10.0.0.2:80", 1), at("[fd00::2]:80", 128),
		{Host: "db.x", Port: 80, Addrs: addrs("10.0.1.1:80", "10.0.1.2:80", "10.0.1.3:80")},
		{Host: "same.x", Port: 80, Addrs: addrs("10.0.1.1:80")}, // as db.x has
		{Host: "none.x", Port: 80},
		{Addrs: addrs("10.0.0.9:80"), Health: Critical},
	}
	for _, policy := range []Policy{RoundRobin, LeastRequest, Random} {
		for _, discovery := range []Discovery{Strict, Logical} {
			c := cluster(t, Cluster{Policy: policy, Discovery: discovery, Endpoints: endpoints})
			for range 100 {
				var tried []netip.AddrPort
				for {
					e, addr, ok := c.Pick(tried)
					if !ok {
						break
					}
					if slices.Contains(tried, addr) || !slices.Contains(e.Addrs, addr) || e.Health == Critical {
						t.Fatalf("%v %v: after %v came %v of %v", policy, discovery, tried, addr, e)
					}
					tried = append(tried, addr)
				}
				if len(tried) != 6 {
					t.Fatalf("%v %v: tried %v", policy, discovery, tried)
				}
			}
		}
	}
}

// TestRetryByWeight: what a dead endpoint leaves goes to all others by weight,
// and not to its neighbor.
func TestRetryByWeight(t *testing.T) {
	c := cluster(t, Cluster{Endpoints: []Endpoint{
		at("10.0.0.1:80", 128), at("10.0.0.2:80", 10), at("10.0.0.3:80", 30), at("10.0.0.4:80", 60),
	}})
	const n = 20000
	got := map[string]int{}
	for range n {
		_, addr, _ := c.Pick(addrs("10.0.0.1:80"))
		got[addr.String()]++
	}
	for addr, p := range map[string]float64{"10.0.0.2:80": .1, "10.0.0.3:80": .3, "10.0.0.4:80": .6} {
		if !within(got[addr], n, p) {
			t.Errorf("%s: %d of %d picks, want %v", addr, got[addr], n, p)
		}
	}
}

func TestPickWithoutTable(t *testing.T) {
	c := &Cluster{Endpoints: []Endpoint{at("10.0.0.1:80", 1)}}
	if _, _, ok := c.Pick(nil); ok {
		t.Error("picked")
	}
}

// TestPickCloseToWeights takes random clusters and compares a long round with the
// weights.
func TestPickCloseToWeights(t *testing.T) {
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 2))
		var endpoints []Endpoint
		total := 0
		for i := range 1 + rng.IntN(20) {
			weight := 1 + rng.IntN(MaxWeight)
			total += weight
			endpoints = append(endpoints, at(addr(i).String(), weight))
		}
		got := counts(t, cluster(t, Cluster{Endpoints: endpoints}), total)
		for _, e := range endpoints {
			if got[e.String()] != e.Weight {
				t.Fatalf("seed %d: %v has %d picks of %d, weight %d", seed, e, got[e.String()], total, e.Weight)
			}
		}
	}
}

func TestPickDoesNotAllocate(t *testing.T) {
	for _, policy := range []Policy{RoundRobin, LeastRequest, Random} {
		c := cluster(t, Cluster{Policy: policy, Endpoints: []Endpoint{
			at("10.0.0.1:80", 3), at("10.0.0.2:80", 1), {Host: "db.x", Port: 80, Addrs: addrs("10.0.1.1:80", "10.0.1.2:80")},
		}})
		tried := addrs("10.0.0.1:80", "10.0.1.1:80")
		if n := testing.AllocsPerRun(100, func() { c.Pick(nil); c.Pick(tried) }); n != 0 {
			t.Errorf("%v: %v allocations", policy, n)
		}
	}
}
