// Package lab builds small networks on one host, for the demo, the tests and the
// benchmarks: network namespaces in a row, each joined to the next by a veth pair.
//
//	client ---- dc1 ---- dc2 ---- server
//	    link 1      link 2     link 3
//
// Link n is 10.0.n.0/24 and fd51:ce:0:n::/64; its left end is .1 (::1), its right
// end .2 (::2). The last namespace has .11, .12 and .13 (::11, ::12, ::13) too, to
// stand for several servers. Those between the ends forward packets, and everybody
// has routes to everybody, so that a flow through gateways can be compared with
// plain forwarding. An interface is named after the neighbour it leads to.
//
// The namespaces are named ones, so `ip netns exec sluice-demo-1-client ...` works.
// Nothing is created in, or moved through, the host's own namespace.
//
// # Who owns a lab
//
// Each lab has a directory under /run/sluice-lab with its files and a record of
// its namespaces, written before the first of them is made. Its owner holds a
// lock (flock) on the record while it lives. Whoever can take that lock knows
// that the owner is gone, however it ended: New removes such labs first, unless
// their owner left them on purpose (Keep). Nothing that is in no record is
// touched. The directory itself is locked while labs are claimed and swept.
package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"regexp"
	"slices"
	"sync/atomic"

	"github.com/vishvananda/netlink"
)

// Options say what lab to build; the zero value is the one of the package comment.
type Options struct {
	// Chain names the namespaces from left to right: lower-case letters and
	// digits, at most 15 of them, as they name interfaces too. One is enough.
	Chain []string
}

// Lab is a row of namespaces, owned by this process.
type Lab struct {
	ID         string       // prefix and number, such as "sluice-demo-1"; namespaces begin with it
	Dir        string       // for files of the lab's user; goes away with the lab
	Namespaces []*Namespace // in the order of Options.Chain

	claim *claim
	rules atomic.Int64 // made so far, to name the next
}

// congestion is the control of the lab's connections, whatever the host's default,
// so that measurements compare. Each route of the lab names it.
const congestion = "cubic"

// sysctls are set in each namespace, before it has interfaces.
var sysctls = [][2]string{
	{"net.ipv4.tcp_no_metrics_save", "1"}, // one run's losses must not slow the next
	{"net.ipv4.conf.all.rp_filter", "0"},  // IPv4 copies the host's settings
	{"net.ipv4.conf.default.rp_filter", "0"},
	{"net.ipv6.conf.all.disable_ipv6", "0"},
	{"net.ipv6.conf.default.disable_ipv6", "0"},
	{"net.ipv6.conf.default.accept_dad", "0"}, // link-local addresses usable at once
	{"net.ipv6.conf.default.accept_ra", "0"},
}

var validName = regexp.MustCompile(`^[a-z0-9]{1,15}$`)

// New builds a lab. The prefix begins the names of its namespaces, and names the
// kind of lab for Down. Labs whose owner is gone are removed first. It needs root.
func New(prefix string, opts Options) (*Lab, error) {
	chain := opts.Chain
	if len(chain) == 0 {
		chain = []string{"client", "dc1", "dc2", "server"}
	}
	for i, name := range chain {
		if !validName.MatchString(name) || slices.Contains(chain[:i], name) {
			return nil, fmt.Errorf("lab: %q cannot name a namespace: want 1 to 15 of a-z and 0-9, each name once", name)
		}
	}
	if len(chain) > 254 {
		return nil, fmt.Errorf("lab: %d namespaces in a row are too many", len(chain))
	}

	c, err := newClaim(prefix, chain)
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	return finish(c, chain)
}

// finish builds the lab that was claimed.
func finish(c *claim, chain []string) (*Lab, error) {
	l := &Lab{ID: c.id, Dir: c.files(), claim: c}
	if err := l.build(chain); err != nil {
		return nil, errors.Join(fmt.Errorf("lab %s: %w", l.ID, err), l.Close())
	}
	return l, nil
}

// NS returns the namespace of that name in the chain, or nil; the methods of a nil
// Namespace return an error.
func (l *Lab) NS(name string) *Namespace {
	for _, n := range l.Namespaces {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// Offloads switches segmentation and receive offloads of every link on or off.
func (l *Lab) Offloads(on bool) error {
	for _, n := range l.Namespaces {
		for _, link := range n.links() {
			if err := n.Offloads(link, on); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close ends what still runs in the lab's namespaces and removes them and the
// lab's files. Goroutines that use a Namespace must be done with it. A second
// Close does nothing.
func (l *Lab) Close() error {
	if l.claim == nil {
		return nil
	}
	c := l.claim
	l.closeHandles()
	if err := c.destroy(); err != nil {
		return fmt.Errorf("lab %s: %w", l.ID, err)
	}
	return nil
}

// Keep gives the lab up without removing it: processes in it run on, and it stays
// until Down. It says so in the record, so that New leaves it alone.
func (l *Lab) Keep() error {
	if l.claim == nil {
		return fmt.Errorf("lab %s: closed, nothing to keep", l.ID)
	}
	c := l.claim
	if err := c.keep(); err != nil {
		return fmt.Errorf("lab %s: keep: %w", l.ID, err)
	}
	l.closeHandles()
	return nil
}

func (l *Lab) closeHandles() {
	l.claim = nil
	for _, n := range l.Namespaces {
		n.close()
	}
}

func (l *Lab) build(chain []string) error {
	for i, name := range chain {
		n, err := newNamespace(l, name)
		if errors.Is(err, fs.ErrExist) {
			l.claim.Namespaces = l.claim.Namespaces[:i] // somebody else's: not for Close to remove
		}
		if err != nil {
			return err
		}
		l.Namespaces = append(l.Namespaces, n)
		if err := n.prepare(0 < i && i < len(chain)-1); err != nil {
			return fmt.Errorf("namespace %s: %w", name, err)
		}
	}
	for i := range chain[1:] {
		if err := join(l.Namespaces[i], l.Namespaces[i+1], i+1); err != nil {
			return fmt.Errorf("join %s and %s: %w", chain[i], chain[i+1], err)
		}
	}
	for i, n := range l.Namespaces {
		if err := n.routes(i, len(chain)-1); err != nil {
			return fmt.Errorf("routes of %s: %w", n.Name, err)
		}
	}
	return nil
}

// prepare sets the namespace up as far as it can be without links.
func (n *Namespace) prepare(router bool) error {
	// The routes have their congestion control; this one is for loopback. A host
	// may keep some to its own namespace, by its list of allowed ones, on which
	// reno always is.
	err := n.Sysctl("net.ipv4.tcp_congestion_control", congestion)
	if errors.Is(err, fs.ErrPermission) {
		err = n.Sysctl("net.ipv4.tcp_congestion_control", "reno")
	}
	if err != nil {
		return err
	}
	for _, s := range sysctls {
		if err := n.Sysctl(s[0], s[1]); err != nil {
			return err
		}
	}
	if router {
		for _, key := range []string{"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"} {
			if err := n.Sysctl(key, "1"); err != nil {
				return err
			}
		}
	}
	return n.netlink(func(h *netlink.Handle) error {
		lo, err := h.LinkByName("lo")
		if err != nil {
			return fmt.Errorf("find loopback: %w", err)
		}
		if err := h.LinkSetUp(lo); err != nil {
			return fmt.Errorf("set loopback up: %w", err)
		}
		return nil
	})
}

// join makes link number n: the pair is created in the left namespace with its
// peer in the right one.
func join(left, right *Namespace, n int) error {
	left.Right = &Link{Name: right.Name, IPv4: linkAddr4(n, 1), IPv6: linkAddr6(n, 1)}
	right.Left = &Link{Name: left.Name, IPv4: linkAddr4(n, 2), IPv6: linkAddr6(n, 2)}
	if right == right.lab.Namespaces[len(right.lab.Namespaces)-1] {
		for host := byte(1); host <= 3; host++ {
			right.Left.More = append(right.Left.More, linkAddr4(n, 10+host), linkAddr6(n, 0x10+host))
		}
	}
	err := left.netlink(func(h *netlink.Handle) error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = left.Right.Name
		return h.LinkAdd(&netlink.Veth{
			LinkAttrs:     attrs,
			PeerName:      right.Left.Name,
			PeerNamespace: netlink.NsFd(right.handle),
		})
	})
	if err != nil {
		return fmt.Errorf("create veth: %w", err)
	}
	// Up on both ends before the addresses: IPv6 makes none usable on a link
	// without a carrier.
	for _, end := range []struct {
		n    *Namespace
		link *Link
	}{{left, left.Right}, {right, right.Left}} {
		if err := end.n.setUp(end.link); err != nil {
			return err
		}
	}
	return errors.Join(left.address(left.Right), right.address(right.Left))
}

func linkAddr4(link int, host byte) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 0, byte(link), host})
}

func linkAddr6(link int, host byte) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x51, 3: 0xce, 7: byte(link), 15: host})
}

// routes gives the namespace at place i its way to the links that it is not on;
// they are numbered 1 to last.
func (n *Namespace) routes(i, last int) error {
	return n.netlink(func(h *netlink.Handle) error {
		for link := 1; link <= last; link++ {
			for _, addr := range []func(link int, host byte) netip.Addr{linkAddr4, linkAddr6} {
				route := &netlink.Route{Dst: ipNet(addr(link, 0)), Congctl: congestion}
				switch {
				case link < i:
					route.Gw = addr(i, 1).AsSlice()
				case link > i+1:
					route.Gw = addr(i+1, 2).AsSlice()
				default:
					continue
				}
				if err := h.RouteAdd(route); err != nil {
					return fmt.Errorf("%s: %w", route, err)
				}
			}
		}
		return nil
	})
}
