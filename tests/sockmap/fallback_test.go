package sockmap

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/loader"
	"sluice/tests/harness"
	"sluice/userspace/flow"
	"sluice/userspace/route"
	"sluice/userspace/slot"
)

// wantWorks checks that the flow carries bytes both ways, whatever its path.
func (f *testFlow) wantWorks(path string) {
	f.r.t.Helper()
	if f.flow.Path != path {
		f.r.t.Errorf("the flow is on path %q, want %q", f.flow.Path, path)
	}
	const n = 200_000
	parallel(f.r.t,
		func() error { return transmit(f.client, newSource(1), n, 5000) },
		func() error { return expect(f.server, newSource(1), n) },
		func() error { return transmit(f.server, newSource(2), n, 5000) },
		func() error { return expect(f.client, newSource(2), n) })
}

func (r *rig) wantFallen(reason string, n uint64) {
	r.t.Helper()
	for name, got := range r.engine.Fallen() {
		want := uint64(0)
		if name == reason {
			want = n
		}
		if got != want {
			r.t.Errorf("%d flows fell back because of %s, want %d", got, name, want)
		}
	}
}

// TestCloseWait is fact 5: a socket that has seen an end cannot be inserted.
func TestCloseWait(t *testing.T) {
	r := newRig(t, options{})
	f := r.connect()
	const n = 10_000
	if err := transmit(f.client, newSource(1), n, 1000); err != nil {
		t.Fatal(err)
	}
	if err := f.client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end to arrive", func() bool {
		info, err := unix.GetsockoptTCPInfo(f.down, unix.IPPROTO_TCP, unix.TCP_INFO)
		return err == nil && info.State == unix.BPF_TCP_CLOSE_WAIT
	})
	// The kernel says so itself.
	if err := r.data.Insert(cookie(t, f.down), f.down); err == nil {
		t.Error("the kernel inserts a socket in CLOSE_WAIT")
	}
	f.start()
	if f.flow.Path != "splice" {
		t.Errorf("path %q", f.flow.Path)
	}
	r.wantFallen("not_established", 1)
	if err := expectEnd(f.server, newSource(1), n); err != nil {
		t.Error(err)
	}
	f.server.Close()
	f.wantEnd(result{flow.Closed, "by downstream"}, n, 0)
}

// TestMPTCP is the other half of fact 5.
func TestMPTCP(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_MPTCP)
	if err != nil {
		t.Skipf("no MPTCP here: %v", err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 16); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	var dialer net.Dialer
	dialer.SetMultipathTCP(true)
	r := newRig(t, options{
		dial: func() (*net.TCPConn, error) {
			c, err := dialer.DialContext(context.Background(), "tcp4", fmt.Sprintf("127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port))
			if err != nil {
				return nil, err
			}
			return c.(*net.TCPConn), nil
		},
		accept: func() (int, error) {
			own, _, err := unix.Accept4(fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			return own, err
		},
	})
	f := r.connect()
	if err := r.data.Insert(cookie(t, f.down), f.down); err == nil {
		t.Error("the kernel inserts an MPTCP socket")
	}
	f.start()
	f.wantWorks("splice")
	r.wantFallen("mptcp", 1)
}

// TestBusy inserts a socket that another sockmap has.
func TestBusy(t *testing.T) {
	other := load(t, 2) // with a program of its own
	r := newRig(t, options{})
	f := r.connect()
	if err := other.Insert(cookie(t, f.up), f.up); err != nil {
		t.Fatal(err)
	}
	f.start()
	if f.flow.Path != "splice" {
		t.Errorf("path %q", f.flow.Path)
	}
	r.wantFallen("busy", 1)
}

// TestForeign has another's program see what is sent on a socket, from before the flow was
// carried or from later on. What is redirected to that socket would be sent by its program,
// and the end of the stream wait for it for ever.
func TestForeign(t *testing.T) {
	r := newRig(t, options{})
	foreign := harness.NewForeign(t)
	for _, later := range []bool{false, true} {
		f := r.connect()
		insert := func() {
			if err := foreign.Insert(f.up); err != nil {
				t.Fatal(err)
			}
		}
		if !later {
			insert()
		}
		f.start()
		if later {
			insert()
		}
		before := r.count(slot.Foreign)
		f.wantWorks("sockmap")
		if r.count(slot.Foreign) == before {
			t.Error("nothing was passed for it")
		}
		if to, from := f.ways(); to.Redirected.Load() > 0 || from.Redirected.Load() == 0 {
			t.Errorf("redirected %d bytes to it, and %d the other way", to.Redirected.Load(), from.Redirected.Load())
		}
		f.client.Close()
		if err := expectEnd(f.server, newSource(0), 0); err != nil {
			t.Error(err)
		}
		f.server.Close()
		f.wantEnd(result{flow.Closed, "by downstream"}, 200_000, 200_000)
	}
}

func TestFull(t *testing.T) {
	r := newRig(t, options{flows: 2})
	for range 2 {
		r.carry().wantWorks("sockmap")
	}
	f := r.connect()
	r.do(func() {
		if err := r.path.Admit(&f.flow); err == nil {
			t.Error("admits one too many")
		}
	})
	f.start() // as if the last place had gone just now
	f.wantWorks("splice")
	r.wantFallen("full", 2)
	r.flows[0].client.Close()
	r.flows[0].server.Close()
	r.flows[0].wait()
	r.carry().wantWorks("sockmap")
}

func TestSwitchedOff(t *testing.T) {
	r := newRig(t, options{})
	live := r.carry()
	r.engine.SwitchOff("a reason")
	r.engine.SwitchOff("another one")
	if got := r.engine.Off(); got != "a reason" {
		t.Errorf("off because of %q", got)
	}
	var f flow.Flow
	r.do(func() {
		if err := r.path.Admit(&f); err == nil || err.Error() != "sockmap: off" {
			t.Errorf("Admit: %v", err)
		}
	})
	live.wantWorks("sockmap")
	r.engine.SwitchOn()
	r.do(func() {
		if err := r.path.Admit(&f); err != nil {
			t.Error(err)
		}
	})
}

// TestHalfRefused has the kernel take one of the sockets only.
func TestHalfRefused(t *testing.T) {
	r := newRig(t, options{kernel: func(d *loader.Datapath) kernel { return &halfKernel{Datapath: d} }})
	f := r.carry()
	f.wantWorks("sockmap")
	r.wantFallen("half_refused", 1)
	if r.count(slot.Redirected) > 0 || r.count(slot.Held) == 0 {
		t.Error("the program has redirected something")
	}
	const n = 3_000_000
	parallel(t,
		func() error { return transmit(f.client, newSource(3), n, 100_000) },
		func() error { return expect(f.server, newSource(3), n) })
	f.client.Close()
	if err := expectEnd(f.server, newSource(0), 0); err != nil {
		t.Error(err)
	}
	f.server.Close()
	f.wantEnd(result{flow.Closed, "by downstream"}, 200_000+n, 200_000)
}

// halfKernel refuses every second socket.
type halfKernel struct {
	*loader.Datapath
	n int
}

func (k *halfKernel) Insert(cookie uint64, fd int) error {
	if k.n++; k.n%2 == 0 {
		return fmt.Errorf("insert: %w", unix.EOPNOTSUPP)
	}
	return k.Datapath.Insert(cookie, fd)
}

// TestPolicyOff switches a route off, for new flows and for those under way, and
// on again.
func TestPolicyOff(t *testing.T) {
	r := newRig(t, options{})
	set := func(name string, rule slot.Rule) {
		t.Helper()
		if err := r.engine.SetPolicy(name, slot.Policy{Rule: rule}); err != nil {
			t.Fatal(err)
		}
	}
	set("web", slot.On)
	f := r.connect()
	f.flow.Route = &route.Route{Name: "web"}
	f.start()
	f.wantWorks("sockmap")
	redirected := r.count(slot.Redirected)

	set("web", slot.Off)
	r.do(func() {
		if err := r.path.Admit(&f.flow); err == nil || err.Error() != "sockmap: policy" {
			t.Errorf("Admit: %v", err)
		}
		if err := r.path.Admit(new(flow.Flow)); err != nil {
			t.Errorf("Admit on another route: %v", err)
		}
	})
	f.wantWorks("sockmap")
	if r.count(slot.Redirected) != redirected || r.count(slot.SwitchedOff) == 0 {
		t.Error("the program redirects although the route is off")
	}
	if err := r.engine.ClearPolicy("web"); err != nil {
		t.Fatal(err)
	}
	f.wantWorks("sockmap")
	if r.count(slot.Redirected) == redirected {
		t.Error("the program does not redirect again")
	}
	redirected = r.count(slot.Redirected)
	set("", slot.Off)
	set("web", slot.On) // no route can overrule that
	f.wantWorks("sockmap")
	if r.count(slot.Redirected) != redirected {
		t.Error("the program redirects although all is off")
	}
}

// TestPolicyUnderLoad changes policies while bytes move.
func TestPolicyUnderLoad(t *testing.T) {
	r := newRig(t, options{})
	f := r.connect()
	f.flow.Route = &route.Route{Name: "web"}
	f.start()
	const n = 64 << 20
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; !stop.Load(); i++ {
			p := slot.Policy{Rule: slot.Rule(1 + i%2), Credit: uint32(1 << (10 + i%12))}
			if err := r.engine.SetPolicy("web", p); err != nil {
				t.Error(err)
			}
			time.Sleep(100 * time.Microsecond)
		}
	}()
	parallel(t,
		func() error { return transmit(f.client, newSource(1), n, 100_000) },
		func() error { return expect(f.server, newSource(1), n) },
		func() error { return transmit(f.server, newSource(2), n, 100_000) },
		func() error { return expect(f.client, newSource(2), n) })
	stop.Store(true)
	<-done
	if err := r.engine.ClearPolicy("web"); err != nil {
		t.Error(err)
	}
	t.Logf("redirected %d pieces, passed %d by policy", r.count(slot.Redirected), r.count(slot.SwitchedOff))
}
