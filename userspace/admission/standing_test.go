package admission

import (
	"net/netip"
	"testing"

	"sluice/userspace/flow"
)

// TestStanding holds what is told of a source to what becomes of a flow from there.
func TestStanding(t *testing.T) {
	addr, prefix := netip.MustParseAddr, netip.MustParsePrefix
	listed := Limits{Allow: prefixes("10.0.0.0/8", "2001:db8::/32"), Deny: prefixes("10.1.0.0/16", "::ffff:10.2.0.0/112")}
	for _, c := range []struct {
		name   string
		limits Limits
		inside []string // sources that have flows already
		from   string
		want   Standing
	}{
		{"no limits", Limits{}, nil, "192.0.2.1", Standing{}},
		{"allowed", listed, nil, "10.3.0.1", Standing{Network: prefix("10.0.0.0/8")}},
		{"allowed, mapped", listed, nil, "::ffff:10.3.0.1", Standing{Network: prefix("10.0.0.0/8")}},
		{"allowed, IPv6", listed, nil, "2001:db8:1::1", Standing{Network: prefix("2001:db8::/32")}},
		{"not allowed", listed, nil, "192.0.2.1", Standing{Refused: "denied"}},
		{"denied", listed, nil, "10.1.2.3", Standing{Refused: "denied", Network: prefix("10.1.0.0/16")}},
		{"denied as mapped", listed, nil, "10.2.2.3", Standing{Refused: "denied", Network: prefix("10.2.0.0/16")}},
		{"room", Limits{MaxPerSource: 2}, []string{"10.0.0.1", "10.0.0.2"}, "10.0.0.1", Standing{Flows: 1, Max: 2}},
		{"no room", Limits{MaxPerSource: 1}, []string{"2001:db8::1"}, "2001:db8::2", Standing{Refused: "limit_source", Flows: 1, Max: 1}},
		{"no room for anybody", Limits{MaxFlows: 1, MaxPerSource: 1}, []string{"10.0.0.1"}, "10.0.0.1", Standing{Refused: "limit_flows", Flows: 1, Max: 1}},
		{"a rate", Limits{AcceptRate: 100}, nil, "10.0.0.1", Standing{Rate: 100}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := gate(t, c.limits)
			for _, s := range c.inside {
				enter(t, g, addr(s), flow.Unknown)
			}
			c.want.Address = addr(c.from)
			if got := g.Standing(addr(c.from)); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
			expectFlows(t, g, len(c.inside))
			refused := ""
			if end := g.Enter(addr(c.from)); end != flow.Unknown {
				refused = end.String()
			}
			if refused != c.want.Refused {
				t.Errorf("refused as %q, want %q", refused, c.want.Refused)
			}
		})
	}
}
