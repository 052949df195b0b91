package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// SocketOptions are set on both legs of a flow.
type SocketOptions struct {
	KeepaliveTime     time.Duration // idle before the first probe; 0: no keepalive
	KeepaliveInterval time.Duration
	KeepaliveProbes   int
	UserTimeout       time.Duration // sent but not acknowledged for so long: lost (RFC 5482); 0: the system's
}

// backlog is cut by the kernel to net.core.somaxconn.
const backlog = 65535

// Sockets are made here and not by package net: its listeners accept MPTCP,
// whose sockets the kernel paths cannot carry, and its sockets live in Go's
// netpoller.
func newSocket(addr netip.Addr) (int, error) {
	family := unix.AF_INET
	if addr.Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return -1, fmt.Errorf("make a socket: %w", err)
	}
	return fd, nil
}

// listen returns a listening socket and its address. Accepted sockets inherit
// its options.
func listen(addr netip.AddrPort, cfg Config) (int, netip.AddrPort, error) {
	fd, err := newSocket(addr.Addr())
	if err != nil {
		return -1, addr, err
	}
	bound, err := setUpListener(fd, addr, cfg)
	if err != nil {
		unix.Close(fd)
		return -1, addr, err
	}
	return fd, bound, nil
}

func setUpListener(fd int, addr netip.AddrPort, cfg Config) (netip.AddrPort, error) {
	set := []sockopt{
		{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1},
		{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1},
		// The client speaks first: no need to be woken before it does. What never
		// speaks is dropped by the kernel, or accepted and timed out here.
		{unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, max(1, int(cfg.HelloTimeout/time.Second))},
	}
	if addr.Addr().Is6() {
		set = append(set, sockopt{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1})
	}
	if err := setOptions(fd, append(set, cfg.Socket.list()...)); err != nil {
		return addr, err
	}
	if err := unix.Bind(fd, sockaddr(addr)); err != nil {
		return addr, fmt.Errorf("bind: %w", err)
	}
	if err := unix.Listen(fd, backlog); err != nil {
		return addr, fmt.Errorf("listen: %w", err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return addr, fmt.Errorf("read the address bound: %w", err)
	}
	return netip.AddrPortFrom(addr.Addr(), addrPort(sa).Port()), nil
}

// errTaken is for an address that another process listens on.
var errTaken = errors.New("another process listens there; -share-ports lets both, to take over from it")

// probeFree fails when addr is taken. Binding with SO_REUSEPORT would not tell:
// it lets a second gateway of the same user take half of the connections.
func probeFree(addr netip.AddrPort) error {
	if addr.Port() == 0 {
		return nil
	}
	fd, err := newSocket(addr.Addr())
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	set := []sockopt{{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1}}
	if addr.Addr().Is6() {
		set = append(set, sockopt{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1})
	}
	if err := setOptions(fd, set); err != nil {
		return err
	}
	if err := unix.Bind(fd, sockaddr(addr)); errors.Is(err, unix.EADDRINUSE) {
		return errTaken
	} else if err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

type sockopt struct{ level, name, value int }

func setOptions(fd int, set []sockopt) error {
	for _, o := range set {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("set socket option %d/%d to %d: %w", o.level, o.name, o.value, err)
		}
	}
	return nil
}

func (o SocketOptions) list() []sockopt {
	// A relay must not wait for more to send what it has.
	set := []sockopt{{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1}}
	if o.KeepaliveTime > 0 {
		set = append(set,
			sockopt{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			sockopt{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds(o.KeepaliveTime)},
			sockopt{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, seconds(o.KeepaliveInterval)},
			sockopt{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, max(1, o.KeepaliveProbes)})
	}
	if o.UserTimeout > 0 {
		set = append(set, sockopt{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(o.UserTimeout / time.Millisecond)})
	}
	return set
}

// seconds rounds up to what the kernel counts in.
func seconds(d time.Duration) int { return max(1, int((d+time.Second-1)/time.Second)) }

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	sa := &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	sa.ZoneId = zoneID(a.Addr().Zone())
	return sa
}

// zoneID is the index of the interface that an IPv6 zone names, 0 for none.
func zoneID(zone string) uint32 {
	if zone == "" {
		return 0
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	link, err := net.InterfaceByName(zone)
	if err != nil {
		return 0 // the kernel refuses link-local addresses without one
	}
	return uint32(link.Index)
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	return netip.AddrPort{}
}
