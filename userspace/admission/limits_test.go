package admission

import (
	"math"
	"net/netip"
	"strings"
	"testing"

	"sluice/userspace/flow"
	"sluice/userspace/route"
)

func TestLimits(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	tests := []struct {
		name   string
		limits Limits
		errs   []string // a line each
	}{
		{"none", Limits{}, nil},
		{"all", Limits{
			Allow: prefixes("10.0.0.0/8"), Deny: prefixes("10.1.0.0/16"),
			MaxFlows: 1, MaxPerSource: 1, MaxPerRoute: 1, AcceptRate: 0.5, AcceptBurst: 1,
		}, nil},
		{"a rate without a burst", Limits{AcceptRate: 1e300}, nil},
		{"flows", Limits{MaxFlows: -1}, []string{"limit of flows must be a number from 0 on, is -1"}},
		{"flows per source", Limits{MaxPerSource: -2}, []string{"limit of flows per source must be a number from 0 on, is -2"}},
		{"flows per route", Limits{MaxPerRoute: -3}, []string{"limit of flows per route must be a number from 0 on, is -3"}},
		{"rate", Limits{AcceptRate: -0.5}, []string{"limit of accept rate must be a number from 0 on, is -0.5"}},
		{"rate NaN", Limits{AcceptRate: nan}, []string{"limit of accept rate must be a number from 0 on, is NaN"}},
		{"rate Inf", Limits{AcceptRate: inf}, []string{"limit of accept rate must be a number from 0 on, is +Inf"}},
		{"burst", Limits{AcceptRate: 1, AcceptBurst: -1}, []string{"limit of accept burst must be a number from 0 on, is -1"}},
		{"a burst without a rate", Limits{AcceptBurst: 5}, []string{"an accept burst means nothing without an accept rate"}},
		{"networks", Limits{Allow: make([]netip.Prefix, 2), Deny: append(prefixes("10.0.0.0/8"), netip.Prefix{})}, []string{
			"network 1 of 2 to allow is not valid",
			"network 2 of 2 to deny is not valid",
		}},
		{"several", Limits{MaxFlows: -1, AcceptBurst: 1}, []string{
			"limit of flows must be a number from 0 on, is -1",
			"an accept burst means nothing without an accept rate",
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g, err := New(test.limits)
			if want := strings.Join(test.errs, "\n"); text(err) != want {
				t.Errorf("got %q, want %q", text(err), want)
			}
			if (g == nil) != (err != nil) {
				t.Errorf("gate %v with error %v", g, err)
			}
		})
	}
}

func TestMaxFlows(t *testing.T) {
	g := gate(t, Limits{MaxFlows: 2})
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	enter(t, g, a, flow.Unknown)
	enter(t, g, b, flow.Unknown)
	enter(t, g, b, flow.LimitFlows)
	expectFlows(t, g, 2)
	g.Leave(a)
	expectFlows(t, g, 1)
	enter(t, g, b, flow.Unknown)
	enter(t, g, a, flow.LimitFlows)
}

// TestRate uses a rate at which the next flow is due in years.
func TestRate(t *testing.T) {
	const never = 1e-9
	a := netip.MustParseAddr("10.0.0.1")

	g := gate(t, Limits{AcceptRate: never, AcceptBurst: 3, MaxPerSource: 10})
	for range 3 {
		enter(t, g, a, flow.Unknown)
	}
	enter(t, g, a, flow.LimitRate)
	expectFlows(t, g, 3)
	g.Leave(a)
	enter(t, g, a, flow.LimitRate) // a rate counts beginnings, not what is there
	expectFlows(t, g, 2)
	g.Leave(a)
	g.Leave(a)
	expectNoSources(t, g)

	g = gate(t, Limits{AcceptRate: never}) // a second's worth, but at least one
	enter(t, g, a, flow.Unknown)
	enter(t, g, a, flow.LimitRate)

	// More than any burst that fits an int must not become the least.
	g = gate(t, Limits{AcceptRate: 1e300})
	for range 100 {
		enter(t, g, a, flow.Unknown)
	}
}

// TestRateSpared has other limits refuse first: what they refuse takes nothing
// of the rate.
func TestRateSpared(t *testing.T) {
	a, b, denied := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.9.0.1")
	g := gate(t, Limits{Deny: prefixes("10.9.0.0/16"), MaxFlows: 2, MaxPerSource: 1, AcceptRate: 1e-9, AcceptBurst: 2})
	enter(t, g, a, flow.Unknown)
	for range 5 {
		enter(t, g, denied, flow.Denied)
		enter(t, g, a, flow.LimitSource)
	}
	enter(t, g, b, flow.Unknown)
	enter(t, g, b, flow.LimitFlows)
	g.Leave(b)
	enter(t, g, b, flow.LimitRate)
	expectFlows(t, g, 1)
}

func TestRouteLimits(t *testing.T) {
	tests := []struct {
		name       string
		all, route int
		want       int // flows that get in of 5
	}{
		{"none", 0, 0, 5},
		{"default", 3, 0, 3},
		{"own", 0, 2, 2},
		{"own below the default", 3, 1, 1},
		{"own above the default", 2, 4, 4},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := gate(t, Limits{MaxPerRoute: test.all})
			r := &route.Route{Options: route.Options{MaxFlows: test.route}, Load: &route.Load{}}
			got := 0
			for range 5 {
				if g.EnterRoute(r, r.MaxFlows) {
					got++
				}
			}
			if got != test.want || r.Load.Active.Load() != int64(got) {
				t.Fatalf("%d entered, %d counted, want %d", got, r.Load.Active.Load(), test.want)
			}
			g.LeaveRoute(r)
			if !g.EnterRoute(r, r.MaxFlows) {
				t.Error("one left, and none may come")
			}
			for range got {
				g.LeaveRoute(r)
			}
			if n := r.Load.Active.Load(); n != 0 {
				t.Errorf("%d counted after all left", n)
			}
		})
	}
}
