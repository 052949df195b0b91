package admission

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"sluice/userspace/flow"
	"sluice/userspace/route"
)

func TestMaxPerSource(t *testing.T) {
	tests := []struct {
		name  string
		same  []string // take each other's room
		other []string // have room of their own
	}{
		{"IPv4", []string{"10.0.0.1", "::ffff:10.0.0.1", "10.0.0.1"}, []string{"10.0.0.2", "::ffff:10.0.0.3"}},
		{"IPv6", []string{"2001:db8::1", "2001:db8::2", "2001:db8::ffff:0:0:1"}, []string{"2001:db8:0:1::1", "2001:db9::1"}},
		{"zones", []string{"fe80::1", "fe80::1%lo", "fe80::2%eth0"}, []string{"fe80:0:0:1::1"}},
		{"none", []string{"", "", ""}, []string{"0.0.0.0"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := gate(t, Limits{MaxPerSource: 2})
			same := addrs(test.same)
			enter(t, g, same[0], flow.Unknown)
			enter(t, g, same[1], flow.Unknown)
			enter(t, g, same[2], flow.LimitSource)
			for _, a := range addrs(test.other) {
				enter(t, g, a, flow.Unknown)
			}
			g.Leave(same[1])
			enter(t, g, same[2], flow.Unknown)
			enter(t, g, same[1], flow.LimitSource)
			expectFlows(t, g, 2+len(test.other))

			for _, a := range append(addrs(test.other), same[0], same[2]) {
				g.Leave(a)
			}
			expectFlows(t, g, 0)
			expectNoSources(t, g)
		})
	}
}

// addrs parses addresses, "" being that of nobody.
func addrs(list []string) []netip.Addr {
	out := make([]netip.Addr, len(list))
	for i, a := range list {
		if a != "" {
			out[i] = netip.MustParseAddr(a)
		}
	}
	return out
}

// TestConcurrent has several loops' worth of goroutines ask for more than there
// is: no limit is exceeded, and all counts are 0 in the end.
func TestConcurrent(t *testing.T) {
	const (
		workers, rounds               = 8, 5000
		maxFlows, perSource, perRoute = 6, 3, 4
	)
	g := gate(t, Limits{MaxFlows: maxFlows, MaxPerSource: perSource, MaxPerRoute: perRoute})
	r := &route.Route{Load: &route.Load{}}
	var all, onRoute atomic.Int64
	var ofSource [3]atomic.Int64
	taken := func(what string, n *atomic.Int64, most int64) func() {
		if now := n.Add(1); now > most {
			t.Errorf("%d flows %s, limit %d", now, what, most)
		}
		return func() { n.Add(-1) }
	}
	var wg sync.WaitGroup
	var granted atomic.Int64
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				s := (w + i) % len(ofSource)
				src := netip.AddrFrom4([4]byte{10, 0, 0, byte(s)})
				if g.Enter(src) != flow.Unknown {
					continue
				}
				granted.Add(1)
				done := []func(){
					taken("in all", &all, maxFlows),
					taken(fmt.Sprint("of source ", s), &ofSource[s], perSource),
				}
				if g.EnterRoute(r, r.MaxFlows) {
					give := taken("on the route", &onRoute, perRoute)
					give()
					g.LeaveRoute(r)
				}
				for _, give := range done {
					give()
				}
				g.Leave(src)
			}
		})
	}
	wg.Wait()
	if granted.Load() == 0 {
		t.Error("no flow was granted")
	}
	expectFlows(t, g, 0)
	expectNoSources(t, g)
	if n := r.Load.Active.Load(); n != 0 {
		t.Errorf("%d flows on the route", n)
	}
}

func BenchmarkEnterLeave(b *testing.B) {
	g := gate(b, Limits{
		Allow: prefixes("10.0.0.0/8", "2001:db8::/32"), Deny: prefixes("10.1.0.0/16"),
		MaxFlows: 1 << 20, MaxPerSource: 1 << 20, AcceptRate: 1e12,
	})
	a := netip.MustParseAddr("10.0.0.1")
	b.ReportAllocs()
	for b.Loop() {
		if end := g.Enter(a); end != flow.Unknown {
			b.Fatal(end)
		}
		g.Leave(a)
	}
}
