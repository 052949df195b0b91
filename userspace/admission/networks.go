package admission

import "net/netip"

// networks is a set of address ranges: for each prefix length of each family that
// occurs, the prefixes of that length. A look-up takes a map access per length,
// of which operators use a handful, however many networks they list.
type networks []sameLength

type sameLength struct {
	is4      bool
	bits     int
	prefixes map[netip.Prefix]struct{}
}

func newNetworks(list []netip.Prefix) networks {
	var n networks
	for _, p := range list {
		n.add(unmapped(p).Masked())
	}
	return n
}

// unmapped is p as IPv4 if it is of IPv4-mapped addresses, as those asked about
// are never of that form.
func unmapped(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}

func (n *networks) add(p netip.Prefix) {
	for _, s := range *n {
		if s.is4 == p.Addr().Is4() && s.bits == p.Bits() {
			s.prefixes[p] = struct{}{}
			return
		}
	}
	*n = append(*n, sameLength{p.Addr().Is4(), p.Bits(), map[netip.Prefix]struct{}{p: {}}})
}

// find returns a network that the address is in.
func (n networks) find(a netip.Addr) (netip.Prefix, bool) {
	for _, s := range n {
		if s.is4 != a.Is4() {
			continue
		}
		p, err := a.WithZone("").Prefix(s.bits)
		if err != nil {
			continue
		}
		if _, ok := s.prefixes[p]; ok {
			return p, true
		}
	}
	return netip.Prefix{}, false
}
