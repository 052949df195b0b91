package sockmap

import (
	"context"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/scripts/lab"
	"sluice/scripts/lab/labtest"
	"sluice/userspace/flow"
	"sluice/userspace/slot"
)

// newLabRig has the path in a namespace between two others, each behind a router.
func newLabRig(t *testing.T, opts options) (*rig, *lab.Lab) {
	t.Helper()
	labtest.NeedRoot(t)
	l := labtest.New(t, "client", "west", "gateway", "east", "server")
	gateway := l.NS("gateway")
	listener, err := gateway.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	listen := descriptorOf(t, listener.(*net.TCPListener))
	t.Cleanup(func() { unix.Close(listen) })
	port := listener.Addr().(*net.TCPAddr).Port
	peers := []struct {
		ns *lab.Namespace
		to string
	}{
		{l.NS("client"), gateway.Left.IPv4.String()},
		{l.NS("server"), gateway.Right.IPv4.String()},
	}
	turn := 0
	opts.dial = func() (*net.TCPConn, error) {
		peer := peers[turn%2]
		turn++
		c, err := peer.ns.Dial(context.Background(), "tcp", fmt.Sprintf("%s:%d", peer.to, port))
		if err != nil {
			return nil, err
		}
		return c.(*net.TCPConn), nil
	}
	opts.accept = func() (int, error) {
		fd, _, err := unix.Accept4(listen, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		return fd, err
	}
	return newRig(t, opts), l
}

// descriptorOf duplicates a socket, which then blocks.
func descriptorOf(t *testing.T, c syscall.Conn) int {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	dup := -1
	if e := raw.Control(func(fd uintptr) { dup, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); e != nil {
		err = e
	}
	if err == nil {
		err = unix.SetNonblock(dup, false)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dup
}

// TestLoss is fact 2: retransmissions that overlap what has been handed over
// already come whole. They must occur for the test to mean anything, and do when
// single segments are lost on the way, and the receiving interface puts together
// retransmitted ones with what follows them (GRO).
func TestLoss(t *testing.T) {
	for _, percent := range []float64{0.1, 1, 5} {
		t.Run(fmt.Sprint(percent, "%"), func(t *testing.T) {
			r, l := newLabRig(t, options{})
			if err := l.Offloads(false); err != nil {
				t.Fatal(err)
			}
			// Without selective acknowledgements a sender repeats much that has arrived.
			for _, name := range []string{"client", "server"} {
				if err := l.NS(name).Sysctl("net.ipv4.tcp_sack", "0"); err != nil {
					t.Fatal(err)
				}
			}
			gateway := l.NS("gateway")
			for _, link := range []string{"west", "east"} {
				if _, err := gateway.Output(t.Context(), "ethtool", "-K", link, "gro", "on"); err != nil {
					t.Fatal(err)
				}
				if _, err := l.NS(link).Loss(percent); err != nil {
					t.Fatal(err)
				}
			}
			n := scale(8<<20, 40<<20)
			if percent >= 5 {
				n /= 16
			}
			// Overlaps are a matter of luck: where loss is high, try on until there was one.
			for i := 0; i < scale(2, 12) || percent >= 5 && i < 100 && r.count(slot.Overlap) == 0; i++ {
				r.transfer(t, n)
			}
			t.Logf("%d overlaps, %d duplicates", r.count(slot.Overlap), r.count(slot.Duplicate))
			if r.count(slot.Overlap) == 0 && percent >= 5 {
				t.Error("no overlap occurred: nothing was tested")
			}
			for _, why := range []slot.Reason{slot.Gap, slot.Malformed, slot.Untrimmed} {
				if n := r.count(why); n > 0 {
					t.Errorf("%d times %v", n, why)
				}
			}
		})
	}
}

// transfer carries n bytes each way at once, and both ends.
func (r *rig) transfer(t *testing.T, n int) {
	t.Helper()
	f := r.carry()
	for _, c := range []*net.TCPConn{f.client, f.server} {
		if err := c.SetDeadline(time.Now().Add(4 * patience)); err != nil {
			t.Fatal(err)
		}
	}
	send := func(c *net.TCPConn, seed byte) func() error {
		return func() error {
			if err := transmit(c, newSource(seed), n, 200_000); err != nil {
				return err
			}
			return c.CloseWrite()
		}
	}
	parallel(t,
		send(f.client, 1), func() error { return expectEnd(f.server, newSource(1), n) },
		send(f.server, 2), func() error { return expectEnd(f.client, newSource(2), n) })
	if got := f.wait(); got.end != flow.Closed {
		t.Errorf("the flow ends as %v %q", got.end, got.detail)
	}
}
