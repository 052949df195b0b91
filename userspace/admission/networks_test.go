package admission

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"sluice/userspace/flow"
)

func TestAllowed(t *testing.T) {
	tests := []struct {
		name        string
		allow, deny []string
		yes, no     []string
	}{
		{name: "no lists", yes: []string{"10.0.0.1", "::ffff:10.0.0.1", "2001:db8::1", "fe80::1%lo"}},
		{
			name:  "allow",
			allow: []string{"10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"},
			yes:   []string{"10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3", "192.0.2.7", "2001:db8:ffff::1"},
			no:    []string{"9.255.255.255", "11.0.0.0", "192.0.2.6", "::ffff:192.0.2.8", "2001:db9::1", "::10.0.0.1"},
		},
		{
			name: "deny",
			deny: []string{"10.1.0.0/16", "2001:db8::/64"},
			yes:  []string{"10.0.255.255", "10.2.0.0", "2001:db8:0:1::1"},
			no:   []string{"10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1"},
		},
		{
			name:  "deny wins",
			allow: []string{"10.1.2.3/32", "10.0.0.0/8"},
			deny:  []string{"10.1.0.0/16"},
			yes:   []string{"10.0.0.1"},
			no:    []string{"10.1.2.3", "11.0.0.1"},
		},
		{name: "all of IPv4", allow: []string{"0.0.0.0/0"}, yes: []string{"10.0.0.1", "::ffff:10.0.0.1"}, no: []string{"2001:db8::1"}},
		{name: "all of IPv6", allow: []string{"::/0"}, yes: []string{"2001:db8::1", "fe80::1%lo"}, no: []string{"10.0.0.1", "::ffff:10.0.0.1"}},
		{name: "bits after the prefix", deny: []string{"10.1.2.3/8"}, yes: []string{"11.1.2.3"}, no: []string{"10.0.0.1"}},
		{
			name: "mapped prefixes",
			deny: []string{"::ffff:10.0.0.0/104", "::ffff:192.0.2.7/128"},
			yes:  []string{"11.0.0.1", "192.0.2.8"},
			no:   []string{"10.1.2.3", "::ffff:10.1.2.3", "192.0.2.7"},
		},
		{name: "all mapped", deny: []string{"::ffff:0:0/96"}, yes: []string{"2001:db8::1"}, no: []string{"10.0.0.1"}},
		{name: "zone", deny: []string{"fe80::/10"}, yes: []string{"fec0::1"}, no: []string{"fe80::1%lo", "fe80::1"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := gate(t, Limits{Allow: prefixes(test.allow...), Deny: prefixes(test.deny...)})
			for _, a := range test.yes {
				enter(t, g, netip.MustParseAddr(a), flow.Unknown)
			}
			for _, a := range test.no {
				enter(t, g, netip.MustParseAddr(a), flow.Denied)
			}
			expectFlows(t, g, len(test.yes))
		})
	}
}

func TestAddressUnknown(t *testing.T) {
	if !gate(t, Limits{}).Allowed(netip.Addr{}) {
		t.Error("denied where all are allowed")
	}
	if gate(t, Limits{Allow: prefixes("::/0", "0.0.0.0/0")}).Allowed(netip.Addr{}) {
		t.Error("allowed where some are")
	}
}

// TestManyNetworks checks each of 10,000 prefixes, of all lengths from 16 on,
// at its two ends and beyond.
func TestManyNetworks(t *testing.T) {
	g := gate(t, Limits{Allow: manyNetworks()})
	for _, p := range manyNetworks() {
		first, last := p.Addr(), lastOf(p)
		if !g.Allowed(first) || !g.Allowed(last) {
			t.Fatalf("%v: an end is not allowed", p)
		}
		if g.Allowed(first.Prev()) || g.Allowed(last.Next()) {
			t.Fatalf("%v: what is beside it is allowed", p)
		}
	}
}

// BenchmarkAllowed looks addresses up among 10,000 prefixes of 17 lengths, in
// vain: that takes longest.
func BenchmarkAllowed(b *testing.B) {
	g := gate(b, Limits{Deny: manyNetworks()})
	a := netip.MustParseAddr("203.0.113.9")
	b.ReportAllocs()
	for b.Loop() {
		if !g.Allowed(a) {
			b.Fatal("denied")
		}
	}
}

// manyNetworks is 10,000 prefixes, no two of which touch.
func manyNetworks() []netip.Prefix {
	var list []netip.Prefix
	for i := range 10_000 {
		a := netip.AddrFrom4([4]byte{byte(i >> 7), byte(i << 1), 0x80, 0})
		list = append(list, netip.PrefixFrom(a, 16+i%17).Masked())
	}
	return list
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	n := binary.BigEndian.Uint32(b[:]) | uint32(1<<(32-p.Bits())-1)
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}
