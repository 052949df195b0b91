package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Link is a namespace's end of the wire to a neighbour.
type Link struct {
	Name string // of the interface: the neighbour's
	IPv4 netip.Addr
	IPv6 netip.Addr
	More []netip.Addr // the last namespace's further addresses: IPv4, IPv6, IPv4, ...
}

// links are those that the namespace has, left before right.
func (n *Namespace) links() []*Link {
	var links []*Link
	for _, l := range []*Link{n.Left, n.Right} {
		if l != nil {
			links = append(links, l)
		}
	}
	return links
}

// withLink gives fn the interface of a link.
func (n *Namespace) withLink(l *Link, fn func(*netlink.Handle, netlink.Link) error) error {
	if l == nil {
		return fmt.Errorf("lab: %s has no such link", n.fullName())
	}
	return n.netlink(func(h *netlink.Handle) error {
		dev, err := h.LinkByName(l.Name)
		if err != nil {
			return fmt.Errorf("find interface %s of %s: %w", l.Name, n.Full, err)
		}
		return fn(h, dev)
	})
}

func (n *Namespace) setUp(l *Link) error {
	return n.withLink(l, func(h *netlink.Handle, dev netlink.Link) error {
		if err := h.LinkSetUp(dev); err != nil {
			return fmt.Errorf("set %s of %s up: %w", l.Name, n.Full, err)
		}
		return nil
	})
}

// address gives the link its addresses, and the routes to those of its other end:
// the ones that the kernel would make have no congestion control.
func (n *Namespace) address(l *Link) error {
	return n.withLink(l, func(h *netlink.Handle, dev netlink.Link) error {
		for _, ip := range append([]netip.Addr{l.IPv4, l.IPv6}, l.More...) {
			addr := &netlink.Addr{IPNet: ipNet(ip), Flags: unix.IFA_F_NOPREFIXROUTE}
			if ip.Is6() {
				addr.Flags |= unix.IFA_F_NODAD
			}
			if err := h.AddrAdd(dev, addr); err != nil {
				return fmt.Errorf("add %s to %s of %s: %w", ip, l.Name, n.Full, err)
			}
		}
		for _, ip := range []netip.Addr{l.IPv4, l.IPv6} {
			net := ipNet(ip)
			net.IP = net.IP.Mask(net.Mask)
			route := &netlink.Route{LinkIndex: dev.Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: net, Congctl: congestion}
			if err := h.RouteAdd(route); err != nil {
				return fmt.Errorf("add route %s in %s: %w", route, n.Full, err)
			}
		}
		return nil
	})
}

// ipNet is the address with the prefix length of the lab's links.
func ipNet(ip netip.Addr) *net.IPNet {
	bits := 24
	if ip.Is6() {
		bits = 64
	}
	return &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(bits, ip.BitLen())}
}

// MTU sets the link's largest packet, in bytes. Both ends want the same one.
func (n *Namespace) MTU(l *Link, mtu int) error {
	return n.withLink(l, func(h *netlink.Handle, dev netlink.Link) error {
		if err := h.LinkSetMTU(dev, mtu); err != nil {
			return fmt.Errorf("set MTU %d on %s of %s: %w", mtu, l.Name, n.Full, err)
		}
		return nil
	})
}

// Offloads switches off (or on again) what lets packets larger than the MTU pass
// the link: segmentation offload when sending, merging when receiving, and
// scatter-gather. With it off at both ends a stream travels in segments of at most
// the MSS, as on a real wire. It runs ethtool.
func (n *Namespace) Offloads(l *Link, on bool) error {
	if n == nil || l == nil {
		return fmt.Errorf("lab: %s has no such link", n.fullName())
	}
	state := "off"
	if on {
		state = "on"
	}
	// Large receive offload is not for a veth to have: it comes with gro.
	args := []string{"-K", l.Name, "sg", state, "tso", state, "gso", state, "gro", state}
	_, err := n.Output(context.Background(), adminTool("ethtool"), args...)
	return err
}
