package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

var errNoAddress = errors.New("the answer has no address that can be connected to")

// answer is what a look-up found.
type answer struct {
	addrs  []netip.Addr // sorted, each once
	ttl    time.Duration
	hasTTL bool  // an answer from the hosts file has none
	lostV4 bool  // a question for A records was not answered: addrs may lack some
	lostV6 bool  // the same for AAAA
	err    error // nothing was found
}

// lookup asks for all addresses of a name.
func (r *Resolver) lookup(ctx context.Context, name string) answer {
	ctx, cancel := context.WithTimeout(ctx, r.opt.Timeout)
	defer cancel()
	n := newNotes()
	res := net.Resolver{PreferGo: true, Dial: r.dialer(n)}
	found, err := res.LookupNetIP(ctx, "ip", name)
	a := answer{
		addrs:  usable(found),
		lostV4: n.unanswered(dnsmessage.TypeA),
		lostV6: n.unanswered(dnsmessage.TypeAAAA),
		err:    err,
	}
	a.ttl, a.hasTTL = n.smallest()
	if e, ok := errors.AsType[*net.DNSError](err); ok && r.opt.Server.IsValid() {
		e.Server = r.opt.Server.String() // it names the one of resolv.conf
	}
	if err == nil && len(a.addrs) == 0 {
		a.err = errNoAddress
	}
	return a
}

// dialer connects to a name server for the standard library, which asks for the
// servers of resolv.conf.
func (r *Resolver) dialer(n *notes) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if r.opt.Server.IsValid() {
			address = r.opt.Server.String()
		}
		d := net.Dialer{Timeout: r.opt.Attempt}
		conn, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if udp, ok := conn.(*net.UDPConn); ok {
			return &datagrams{UDPConn: udp, notes: n, attempt: r.opt.Attempt}, nil
		}
		return &stream{Conn: conn, notes: n, attempt: r.opt.Attempt}, nil
	}
}

// usable sorts addresses, since servers rotate them, and leaves out those that a
// table does not take: some servers say 0.0.0.0 for names they block, which Linux
// would connect to this host.
func usable(addrs []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range addrs {
		if a = a.Unmap(); a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// merge returns the addresses to use, given those that were good before. Where a
// question was not answered, the old addresses of that family are better than
// none, and better than others that the name has under another search domain.
func (a answer) merge(old []netip.Addr) []netip.Addr {
	if a.err != nil {
		return old
	}
	v4, v6 := families(a.addrs)
	old4, old6 := families(old)
	if a.lostV4 && len(old4) > 0 {
		v4 = old4
	}
	if a.lostV6 && len(old6) > 0 {
		v6 = old6
	}
	return slices.Concat(v4, v6)
}

// families splits sorted addresses, in which IPv4 comes first.
func families(addrs []netip.Addr) (v4, v6 []netip.Addr) {
	i := slices.IndexFunc(addrs, netip.Addr.Is6)
	if i < 0 {
		i = len(addrs)
	}
	return addrs[:i], addrs[i:]
}
