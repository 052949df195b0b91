package gateway

import (
	"net/netip"
	"testing"

	"sluice/userspace/admission"
	"sluice/userspace/flow"
	"sluice/userspace/sni"
)

// Limits refuse the flow that is one too many, and no others; what ends makes
// room.
func TestLimits(t *testing.T) {
	elsewhere := netip.MustParseAddrPort("127.0.0.2:0")
	for _, test := range []struct {
		name   string
		limits admission.Limits
		route  int // limit of api.test
		want   flow.End
		alert  byte
		other  func(*testing.T, *rig) *client // one that is within the limits though
	}{
		{name: "flows in all", limits: admission.Limits{MaxFlows: 2}, want: flow.LimitFlows},
		{
			name: "flows of a source", limits: admission.Limits{MaxPerSource: 2}, want: flow.LimitSource,
			other: func(t *testing.T, r *rig) *client { return dialFrom(t, elsewhere, r.Addrs()[0]) },
		},
		{
			name: "flows of a route", limits: admission.Limits{MaxPerRoute: 1}, route: 2, want: flow.LimitRoute,
			alert: sni.AlertInternalError,
		},
		{
			name: "flows of any route", limits: admission.Limits{MaxPerRoute: 2}, want: flow.LimitRoute,
			alert: sni.AlertInternalError,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := start(t, func(s *setup) {
				s.limits = test.limits
				route, _ := s.lead("api.test", echo(t))
				route.MaxFlows = test.route
			})
			h := hello(t, "api.test")
			first, second := r.open(h), r.open(h)
			first.expect(h)
			second.expect(h)

			third := r.open(h)
			if test.alert != 0 {
				third.expectAlert(test.alert)
			} else if b, _ := third.rest(); len(b) > 0 {
				t.Errorf("the client got % x, want nothing", b)
			}
			third.Close()
			if f := r.ends(1)[0]; f.End != test.want {
				t.Errorf("ended as %v, want %v", f.End, test.want)
			}
			if test.other != nil {
				c := test.other(t, r)
				c.send(h)
				c.expect(h)
			}

			first.reset()
			r.ends(2)
			eventually(t, "room for another flow", func() bool {
				return r.parts.Gate.Flows() == r.Active() && r.Active() <= 2
			})
			c := r.open(h)
			c.expect(h)
			second.send([]byte("still there"))
			second.expect([]byte("still there"))
		})
	}
}

// A route that is full leaves the others alone.
func TestRouteLimitIsItsOwn(t *testing.T) {
	r := start(t, func(s *setup) {
		full, _ := s.lead("full.test", echo(t))
		full.MaxFlows = 1
		s.lead("api.test", echo(t))
	})
	h := hello(t, "full.test")
	r.open(h).expect(h)
	r.open(h).expectAlert(sni.AlertInternalError)
	h = hello(t, "api.test")
	for range 3 {
		r.open(h).expect(h)
	}
}

func TestNetworks(t *testing.T) {
	prefix := netip.MustParsePrefix
	for _, test := range []struct {
		name        string
		allow, deny []netip.Prefix
		from        string
		want        bool
	}{
		{"all by default", nil, nil, "127.0.0.1:0", true},
		{"allowed", []netip.Prefix{prefix("127.0.0.2/32")}, nil, "127.0.0.2:0", true},
		{"not allowed", []netip.Prefix{prefix("127.0.0.2/32")}, nil, "127.0.0.1:0", false},
		{"denied", nil, []netip.Prefix{prefix("127.0.0.0/24")}, "127.0.0.1:0", false},
		{"not denied", nil, []netip.Prefix{prefix("127.0.0.0/24")}, "127.0.1.1:0", true},
		{"allowed and denied", []netip.Prefix{prefix("127.0.0.0/8")}, []netip.Prefix{prefix("127.0.0.0/24")}, "127.0.0.1:0", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := start(t, func(s *setup) {
				s.limits = admission.Limits{Allow: test.allow, Deny: test.deny}
				s.lead("api.test", echo(t))
			})
			h := hello(t, "api.test")
			c := dialFrom(t, netip.MustParseAddrPort(test.from), r.Addrs()[0])
			c.send(h)
			if test.want {
				c.expect(h)
				return
			}
			if b, _ := c.rest(); len(b) > 0 {
				t.Errorf("the client got % x, want nothing", b)
			}
			if f := r.ends(1)[0]; f.End != flow.Denied {
				t.Errorf("ended as %v, want %v", f.End, flow.Denied)
			}
		})
	}
}

func TestAcceptRate(t *testing.T) {
	r := start(t, func(s *setup) {
		s.limits = admission.Limits{AcceptRate: 0.001, AcceptBurst: 2}
		s.lead("api.test", echo(t))
	})
	h := hello(t, "api.test")
	for range 2 {
		r.open(h).expect(h)
	}
	c := r.open(h)
	if b, _ := c.rest(); len(b) > 0 {
		t.Errorf("the client got % x, want nothing", b)
	}
	if f := r.ends(1)[0]; f.End != flow.LimitRate {
		t.Errorf("ended as %v, want %v", f.End, flow.LimitRate)
	}
}
