package gateway

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// All addresses are served, by all workers.
func TestListeners(t *testing.T) {
	r := start(t, func(s *setup) {
		s.Workers = 3
		s.Listen = []netip.AddrPort{
			loopback, loopback,
			netip.MustParseAddrPort("127.0.0.2:0"),
			netip.MustParseAddrPort("[::1]:0"),
		}
		s.lead("api.test", echo(t))
	})
	addrs := r.Addrs()
	if len(addrs) != 4 {
		t.Fatalf("listening on %v, want 4 addresses", addrs)
	}
	h := hello(t, "api.test")
	for i, addr := range addrs {
		if addr.Port() == 0 {
			t.Errorf("listening on %v, want its real port", addr)
		}
		c := dialFrom(t, netip.AddrPort{}, addr)
		c.send(h)
		c.expect(h)
		c.CloseWrite()
		c.rest()
		if f := r.ends(i + 1)[i]; f.Local != addr {
			t.Errorf("flow %d came to %v, want %v", i, f.Local, addr)
		}
	}
}

// With port 0, all workers listen on the one that the first was given, and the
// kernel spreads connections over them.
func TestWorkersShareAPort(t *testing.T) {
	r := start(t, func(s *setup) {
		s.Workers = 3
		s.lead("api.test", echo(t))
	})
	for i, w := range r.workers {
		for _, l := range w.listeners {
			if sa, err := unix.Getsockname(l.fd.Sys); err != nil || addrPort(sa) != r.Addrs()[0] {
				t.Errorf("worker %d listens on %v, want %v", i, addrPort(sa), r.Addrs()[0])
			}
		}
	}
	h := hello(t, "api.test")
	var idle int
	for range 200 {
		r.open(h).expect(h)
		idle = 0
		r.inside(func(w *worker) {
			if len(w.conns) == 0 {
				idle++
			}
		})
		if idle == 0 {
			break
		}
	}
	if idle > 0 {
		t.Errorf("%d of 3 workers got no connection of %d", idle, r.Active())
	}
}

// The options that the operator set are on both legs, and neither is MPTCP.
func TestSocketOptions(t *testing.T) {
	r := start(t, func(s *setup) {
		s.Socket = SocketOptions{
			KeepaliveTime:     70 * time.Second,
			KeepaliveInterval: 1500 * time.Millisecond, // the kernel counts in seconds
			KeepaliveProbes:   7,
			UserTimeout:       45 * time.Second,
		}
		s.lead("api.test", echo(t))
	})
	h := hello(t, "api.test")
	r.open(h).expect(h)
	both := []sockopt{
		{unix.SOL_SOCKET, unix.SO_PROTOCOL, unix.IPPROTO_TCP},
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 70},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 2},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 7},
		{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 45000},
	}
	r.inside(func(w *worker) {
		for _, l := range w.listeners {
			checkOptions(t, "listener", l.fd.Sys, sockopt{unix.SOL_SOCKET, unix.SO_PROTOCOL, unix.IPPROTO_TCP})
		}
		for c := range w.conns {
			checkOptions(t, "downstream", c.down.Sys, both...)
			checkOptions(t, "upstream", c.up.Sys, both...)
		}
	})
}

func TestDefaultSocketOptions(t *testing.T) {
	r := start(t, func(s *setup) { s.lead("api.test", echo(t)) })
	h := hello(t, "api.test")
	r.open(h).expect(h)
	r.inside(func(w *worker) {
		for c := range w.conns {
			for leg, fd := range map[string]int{"downstream": c.down.Sys, "upstream": c.up.Sys} {
				checkOptions(t, leg, fd,
					sockopt{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
					sockopt{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0},
					sockopt{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 0})
			}
		}
	})
}

func checkOptions(t *testing.T, leg string, fd int, want ...sockopt) {
	t.Helper()
	for _, o := range want {
		if got, err := unix.GetsockoptInt(fd, o.level, o.name); err != nil || got != o.value {
			t.Errorf("%s: socket option %d/%d is %d (error: %v), want %d", leg, o.level, o.name, got, err, o.value)
		}
	}
}

// An address can be had by one gateway only, or by several that say so, as when
// a new one takes over from the last.
func TestAddressTaken(t *testing.T) {
	first := start(t, func(s *setup) { s.lead("api.test", echo(t)) })
	parts := first.parts
	cfg := first.cfg
	cfg.Listen = []netip.AddrPort{loopback, first.Addrs()[0]}

	before := descriptors(t)
	_, err := New(cfg, parts)
	if !errors.Is(err, errTaken) || !strings.Contains(err.Error(), first.Addrs()[0].String()) {
		t.Errorf("error %v, want one that names %v", err, first.Addrs()[0])
	}
	if n := descriptors(t); n != before {
		t.Errorf("%d descriptors are open after New failed, %d before", n, before)
	}

	second := start(t, func(s *setup) {
		s.Listen, s.SharePorts = cfg.Listen[1:], true
		s.lead("api.test", echo(t))
	})
	h := hello(t, "api.test")
	for range 200 {
		first.open(h).expect(h)
		if first.Active() > 0 && second.Active() > 0 {
			break
		}
	}
	if one, two := first.Active(), second.Active(); one == 0 || two == 0 {
		t.Errorf("of two gateways on one address one has %d connections and the other %d", one, two)
	}
}

// What cannot be shared or listened on fails by name.
func TestListenFails(t *testing.T) {
	fd, taken := bound(t)
	if err := unix.Listen(fd, 1); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		addr  netip.AddrPort
		share bool
		want  error
	}{
		{"taken by a socket that shares nothing", taken, false, errTaken},
		{"taken by a socket that shares nothing, though we would", taken, true, unix.EADDRINUSE},
		{"not ours", netip.MustParseAddrPort("198.51.100.1:0"), false, unix.EADDRNOTAVAIL},
		{"not ours, with a port", netip.MustParseAddrPort("198.51.100.1:8443"), false, unix.EADDRNOTAVAIL},
	} {
		t.Run(test.name, func(t *testing.T) {
			descriptorsReturn(t)
			_, err := New(Config{Listen: []netip.AddrPort{test.addr}, SharePorts: test.share}, Parts{Paths: splice})
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.addr.String()) {
				t.Errorf("error %v, want %v that names %v", err, test.want, test.addr)
			}
		})
	}
}

// A port that was served a moment ago can be listened on at once: connections of
// the last process that linger in the kernel do not matter.
func TestRestart(t *testing.T) {
	r := start(t, func(s *setup) { s.lead("api.test", echo(t)) })
	h := hello(t, "api.test")
	r.open(h).expect(h)
	cfg, parts := r.cfg, r.parts
	cfg.Listen = r.Addrs()
	r.inside(func(w *worker) {
		for c := range w.conns {
			// So that the gateway's side is the one left in TIME_WAIT.
			unix.Shutdown(c.down.Sys, unix.SHUT_WR)
		}
	})
	r.stop()
	again, err := New(cfg, parts)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range again.workers {
		w.close()
	}
}

// A listening socket can be aborted from outside (ss -K). It must not be spun on,
// and the address must not be lost.
func TestListenerAborted(t *testing.T) {
	r := start(t, func(s *setup) {
		s.Workers = 2
		s.lead("api.test", echo(t))
	})
	h := hello(t, "api.test")
	served := r.open(h)
	served.expect(h)
	for range 3 {
		failed := len(r.seen.acceptErrors())
		r.inside(func(w *worker) {
			if err := unix.Shutdown(w.listeners[0].fd.Sys, unix.SHUT_RDWR); err != nil {
				t.Error(err)
			}
		})
		eventually(t, "each worker listens again", func() bool {
			listening := len(r.seen.acceptErrors()) == failed+len(r.workers)
			r.inside(func(w *worker) { listening = listening && w.listeners[0].fd.Valid() })
			return listening
		})
		for range 10 {
			r.open(h).expect(h)
		}
	}
	served.send([]byte("still there"))
	served.expect([]byte("still there"))
	if errs := r.seen.acceptErrors(); len(errs) != 6 {
		t.Errorf("accept failed %d times, want once for each socket: %v", len(errs), errs)
	}
}

// Workers listen on the address that the first one was given, and a link-local
// one is none without its zone.
func TestZoneIsKept(t *testing.T) {
	fd, addr, err := listen(netip.MustParseAddrPort("[::1%lo]:0"), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if addr.Addr().Zone() != "lo" || addr.Port() == 0 {
		t.Errorf("listening on %v, want a port of [::1%%lo]", addr)
	}
}

func TestAddressesRoundTrip(t *testing.T) {
	for _, want := range []string{"127.0.0.1:1", "0.0.0.0:65535", "[::1]:443", "[2001:db8::1]:8443"} {
		if got := addrPort(sockaddr(netip.MustParseAddrPort(want))); got.String() != want {
			t.Errorf("%v became %v", want, got)
		}
	}
	if id := zoneID("lo"); id != 1 {
		t.Errorf("the zone of lo is %d, want 1", id)
	}
	if id := zoneID("7"); id != 7 {
		t.Errorf("zone 7 is %d", id)
	}
	if id := zoneID("no such link"); id != 0 {
		t.Errorf("the zone of no link is %d, want 0", id)
	}
}
