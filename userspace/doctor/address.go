package doctor

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// AddressChecks look whether what the gateway listens on can be had.
func AddressChecks(h *Host, p *Plan) []Check {
	checks := []Check{{Area: "addresses", Name: "listen", Run: func(ctx context.Context) []Line {
		addrs, err := p.Listen(ctx)
		if err != nil {
			return []Line{Bad(Fail, "", "-listen=ADDRESS:PORT, or see the lines about Consul", "no address to listen on is known: %v", err)}
		}
		var lines []Line
		for _, a := range addrs {
			lines = append(lines, h.address("listen "+a.String(), a, p.SharePorts))
		}
		return lines
	}}}
	if p.Metrics == "" {
		return checks
	}
	return append(checks, Check{Area: "addresses", Name: "metrics " + p.Metrics, Run: func(ctx context.Context) []Line {
		addr, err := resolve(ctx, p.Metrics)
		if err != nil {
			return []Line{Bad(Fail, "", "-metrics-bind=ADDRESS:PORT, such as 127.0.0.1:9102", "%v", err)}
		}
		return []Line{h.address("", addr, false)}
	}})
}

// resolve takes a host name too, as package net does.
func resolve(ctx context.Context, hostPort string) (netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(hostPort)
	if err != nil {
		return netip.AddrPort{}, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if host == "" {
		return netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(port)), nil
	}
	all, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(all[0].Unmap(), uint16(port)), nil
}

// address looks whether it is free, or has the gateway itself on it.
func (h *Host) address(name string, addr netip.AddrPort, share bool) Line {
	err := h.Bind(addr, share)
	switch {
	case err == nil:
		return Good(name, "free")
	case errors.Is(err, unix.EADDRINUSE):
		return h.taken(name, addr)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return Bad(Fail, name, "ip address add "+addr.Addr().String()+"/PREFIX dev INTERFACE; or another address", "this host does not have the address")
	case errors.Is(err, unix.EACCES):
		return Bad(Fail, name, "systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE; or a higher port", "not allowed: %v", err)
	case errors.Is(err, unix.EAFNOSUPPORT):
		return Bad(Fail, name, "IPv4 addresses only, such as -listen=0.0.0.0:8443", "this host has no IPv6")
	}
	return Bad(Fail, name, "another address", "cannot be bound: %v", err)
}

// taken tells whether it is the gateway of these settings that has the address.
func (h *Host) taken(name string, addr netip.AddrPort) Line {
	who, err := h.holder(addr)
	switch {
	case err != nil:
		return Bad(Fail, name, "ss -ltnp 'sport = :"+strconv.Itoa(int(addr.Port()))+"' as root tells who", "taken, and it is not known by whom: %v", err)
	case who.pid == h.Running:
		return Good(name, "the gateway that runs has it: %s", who)
	case h.Running == 0 && who.gateway: // without an admin socket it cannot say of which settings it is
		return Good(name, "a gateway has it, taken for the one of these settings: %s", who)
	case who.gateway:
		return Bad(Fail, name, "another address for one of them; or -share-ports, to take over", "another gateway has it: %s", who)
	}
	return Bad(Fail, name, "stop that one; or another address", "taken by %s", who)
}

// holder is who listens on an address.
type holder struct {
	pid     int
	name    string
	gateway bool // it is a "sluice gateway"
}

func (o holder) String() string { return fmt.Sprintf("%s, process %d", o.name, o.pid) }

// holder finds who listens on an address, or stands in its way by one like 0.0.0.0.
func (h *Host) holder(addr netip.AddrPort) (holder, error) {
	inodes, err := h.listeners(addr)
	if err != nil {
		return holder{}, err
	}
	procs, err := fs.ReadDir(h.FS, "proc")
	if err != nil {
		return holder{}, err
	}
	for _, proc := range procs {
		pid, err := strconv.Atoi(proc.Name())
		if err != nil {
			continue
		}
		dir := "proc/" + proc.Name()
		files, _ := fs.ReadDir(h.FS, dir+"/fd") // it may have ended, or be somebody else's
		for _, f := range files {
			link, err := fs.ReadLink(h.FS, dir+"/fd/"+f.Name())
			if err == nil && slices.Contains(inodes, link) {
				return h.describe(pid, dir), nil
			}
		}
	}
	return holder{}, errors.New("no process shows the socket; it may be another user's, or a container's")
}

func (h *Host) describe(pid int, dir string) holder {
	comm, _ := fs.ReadFile(h.FS, dir+"/comm")
	cmdline, _ := fs.ReadFile(h.FS, dir+"/cmdline")
	o := holder{pid: pid, name: strings.TrimSpace(string(comm))}
	args := strings.Split(string(cmdline), "\x00")
	if len(args) > 1 && o.name == "sluice" && args[1] == "gateway" {
		o.name, o.gateway = "sluice gateway", true
	}
	return o
}

// listeners are the sockets in an address's way, as links in /proc name them
// ("socket:[123]").
func (h *Host) listeners(addr netip.AddrPort) ([]string, error) {
	const listening = "0A" // as /proc/net/tcp has it (proc_pid_net(5))
	var all []string
	for _, file := range []string{"proc/net/tcp", "proc/net/tcp6"} {
		b, err := fs.ReadFile(h.FS, file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) < 10 || f[3] != listening {
				continue
			}
			if own, ok := parseProcAddr(f[1]); ok && inTheWay(own, addr) {
				all = append(all, "socket:["+f[9]+"]")
			}
		}
	}
	if len(all) == 0 {
		return nil, errors.New("nobody listens there: a socket is bound to it, or a connection has it")
	}
	return all, nil
}

// inTheWay tells whether a listener on has keeps others from binding want.
func inTheWay(has, want netip.AddrPort) bool {
	a, b := has.Addr().Unmap(), want.Addr().Unmap()
	switch {
	case has.Port() != want.Port():
		return false
	case a == b, has.Addr() == netip.IPv6Unspecified(): // which may have IPv4 too
		return true
	}
	return a.Is4() == b.Is4() && (a.IsUnspecified() || b.IsUnspecified())
}

// parseProcAddr reads "0100007F:20FB": words of 32 bits in the host's order, and the port.
func parseProcAddr(text string) (netip.AddrPort, bool) {
	addr, portText, _ := strings.Cut(text, ":")
	b, err := hex.DecodeString(addr)
	port, errPort := strconv.ParseUint(portText, 16, 16)
	if err != nil || errPort != nil || len(b) != 4 && len(b) != 16 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	ip, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(ip, uint16(port)), true
}

// Bind binds an address as a gateway would, and gives it up again. It never listens, so
// no connection can come to it: where a gateway listens and ports are shared, the kernel
// chooses among listeners only.
func Bind(addr netip.AddrPort, share bool) error {
	family := unix.AF_INET
	if addr.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return fmt.Errorf("make a socket: %w", err)
	}
	defer unix.Close(fd)
	options := []int{unix.SO_REUSEADDR}
	if share {
		options = append(options, unix.SO_REUSEPORT)
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, o, 1); err != nil {
			return fmt.Errorf("set socket option %d: %w", o, err)
		}
	}
	var sa unix.Sockaddr
	if addr.Addr().Is6() {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return fmt.Errorf("set IPV6_V6ONLY: %w", err)
		}
		six := &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
		if zone, err := net.InterfaceByName(addr.Addr().Zone()); err == nil {
			six.ZoneId = uint32(zone.Index)
		}
		sa = six
	} else {
		sa = &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	}
	if err := unix.Bind(fd, sa); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}
