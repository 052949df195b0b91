package sockmap

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
	"sluice/userspace/slot"
)

func TestBothWays(t *testing.T) {
	r := newRig(t, options{})
	f := r.carry()
	const n, m = 300_000, 200_000
	parallel(t,
		func() error { return transmit(f.client, newSource(1), n, 5000) },
		func() error { return expect(f.server, newSource(1), n) },
		func() error { return transmit(f.server, newSource(2), m, 5000) },
		func() error { return expect(f.client, newSource(2), m) })
	if f.flow.Path != "sockmap" {
		t.Errorf("path %q", f.flow.Path)
	}
	if r.count(slot.Redirected) == 0 {
		t.Error("nothing was redirected")
	}
	f.client.Close()
	if err := expectEnd(f.server, newSource(0), 0); err != nil {
		t.Error(err)
	}
	f.server.Close()
	f.wantEnd(result{flow.Closed, "by downstream"}, n, m)
}

// TestIPv6 is TestBothWays over IPv6, with an upstream that was dialed rather than
// accepted.
func TestIPv6(t *testing.T) {
	l, err := net.ListenTCP("tcp6", &net.TCPAddr{IP: net.IPv6loopback})
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	defer l.Close()
	var own *net.TCPConn // the gateway's side
	turn := 0
	r := newRig(t, options{
		dial: func() (*net.TCPConn, error) {
			dialed, err := net.DialTCP("tcp6", nil, l.Addr().(*net.TCPAddr))
			if err != nil {
				return nil, err
			}
			accepted, err := l.AcceptTCP()
			if err != nil {
				return nil, err
			}
			if turn++; turn%2 == 1 {
				own = accepted
				return dialed, nil
			}
			own = dialed
			return accepted, nil
		},
		accept: func() (int, error) {
			defer own.Close()
			raw, err := own.SyscallConn()
			if err != nil {
				return -1, err
			}
			fd := -1
			if e := raw.Control(func(sys uintptr) { fd, err = unix.FcntlInt(sys, unix.F_DUPFD_CLOEXEC, 0) }); e != nil {
				err = e
			}
			return fd, err
		},
	})
	f := r.carry()
	f.wantWorks("sockmap")
	f.server.Close()
	if err := expectEnd(f.client, newSource(0), 0); err != nil {
		t.Error(err)
	}
	f.client.Close()
	f.wantEnd(result{flow.Closed, "by upstream"}, 200_000, 200_000)
}
