package relay

import (
	"errors"
	"fmt"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
)

// sides has a test run with the client and then with the server as the one that
// breaks the flow.
func sides(t *testing.T, test func(t *testing.T, f *testFlow, breaker, other *net.TCPConn, end result)) {
	const why = "connection reset by peer"
	for _, spliced := range []bool{false, true} {
		rig := func(t *testing.T) *rig {
			if spliced {
				return newRig(t, 0, 0).spliceOnly()
			}
			return newRig(t, 0, 0)
		}
		t.Run(fmt.Sprintf("client, spliced %t", spliced), func(t *testing.T) {
			f := rig(t).carry()
			test(t, f, f.client, f.server, result{flow.DownstreamReset, why})
		})
		t.Run(fmt.Sprintf("server, spliced %t", spliced), func(t *testing.T) {
			f := rig(t).carry()
			test(t, f, f.server, f.client, result{flow.UpstreamReset, why})
		})
	}
}

func TestResetOfAnIdleFlow(t *testing.T) {
	sides(t, func(t *testing.T, f *testFlow, breaker, other *net.TCPConn, end result) {
		reset(t, breaker)
		wantReset(t, other)
		f.wantEnd(end, 0, 0)
	})
}

// TestBytesBeforeAReset has the bytes and the reset there before the loop sees
// either: the bytes go first.
func TestBytesBeforeAReset(t *testing.T) {
	for _, c := range []struct {
		n, piece int
		narrow   bool // use a pipe of one slot, so that one turn does not move all
	}{
		{n: 1, piece: 1},
		{n: 30_000, piece: 30_000},
		{n: 4000, piece: 20},
		{n: 12_000, piece: 1000, narrow: true},
	} {
		t.Run(fmt.Sprintf("%d in pieces of %d", c.n, c.piece), func(t *testing.T) {
			sides(t, func(t *testing.T, f *testFlow, breaker, other *net.TCPConn, end result) {
				if c.narrow { // which matters to those spliced
					f.r.do(func() { narrow(t, f.r.path.pipes.idle[0]) })
				}
				release := f.r.hold()
				if err := transmit(breaker, newSource(1), c.n, c.piece); err != nil {
					t.Error(err)
				}
				acknowledged(t, breaker)
				reset(t, breaker)
				release()
				if err := expect(other, newSource(1), c.n); err != nil {
					t.Error(err)
				}
				wantReset(t, other)
				if got := f.wait(); got != end {
					t.Errorf("the flow ends as %v, want %v", got, end)
				}
			})
		})
	}
}

// TestBytesBeforeAResetBehindAFullWindow has a receiver that begins to read after the
// reset: what the breaker was told is received has to wait for it.
func TestBytesBeforeAResetBehindAFullWindow(t *testing.T) {
	const n = 36_000
	f := newRig(t, 0, 16_384).carry()
	if err := transmit(f.server, newSource(1), n, 4000); err != nil {
		t.Error(err)
	}
	acknowledged(t, f.server)
	if got := unread(t, f.client); got >= n {
		t.Fatalf("%d bytes fit the window", got)
	}
	reset(t, f.server)
	eventually(t, "the reset to be seen", func() (seen bool) {
		f.r.do(func() { seen = f.c.legs[1].broken != nil })
		return seen
	})
	if err := expect(f.client, newSource(1), n); err != nil {
		t.Error(err)
	}
	wantReset(t, f.client)
	f.wantEnd(result{flow.UpstreamReset, "connection reset by peer"}, 0, n)
}

// unread is how many bytes c has received and not read.
func unread(t testing.TB, c *net.TCPConn) (n int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if e := raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	return n
}

// narrow leaves a pipe one slot.
func narrow(t *testing.T, p pipe) {
	if _, err := unix.FcntlInt(uintptr(p.w), unix.F_SETPIPE_SZ, 4096); err != nil {
		t.Error(err)
	}
}

// TestAnswerBeforeAReset is what a server does that refuses an upload: it
// answers and closes with bytes unread, which resets. The client is still
// sending, so that the relay may meet the reset as it writes; the answer must
// reach the client all the same.
func TestAnswerBeforeAReset(t *testing.T) {
	sides(t, func(t *testing.T, f *testFlow, breaker, other *net.TCPConn, end result) {
		const n = 20_000
		for _, way := range [][2]*net.TCPConn{{breaker, other}, {other, breaker}} { // it is under way already
			if err := transmit(way[0], newSource(3), 10, 10); err != nil {
				t.Error(err)
			}
			if err := expect(way[1], newSource(3), 10); err != nil {
				t.Error(err)
			}
		}
		release := f.r.hold()
		if err := transmit(other, newSource(2), n, n); err != nil {
			t.Error(err)
		}
		if err := transmit(breaker, newSource(1), n, n); err != nil {
			t.Error(err)
		}
		acknowledged(t, breaker)
		reset(t, breaker)
		release()
		if err := expect(other, newSource(1), n); err != nil {
			t.Error(err)
		}
		wantReset(t, other)
		if got := f.wait(); got != end {
			t.Errorf("the flow ends as %v, want %v", got, end)
		}
	})
}

// TestResetWhileMoving breaks a flow with many bytes under way in both
// directions: what arrives is a beginning of what was sent, and then a reset.
func TestResetWhileMoving(t *testing.T) {
	sides(t, func(t *testing.T, f *testFlow, breaker, other *net.TCPConn, end result) {
		const n = 1 << 20
		parallel(t,
			func() error { return transmit(breaker, newSource(1), n, 10_000) },
			func() error {
				if err := expect(breaker, newSource(2), 1<<40); !errors.Is(err, net.ErrClosed) {
					return err
				}
				return nil
			},
			func() error {
				if err := transmit(other, newSource(2), 1<<40, 10_000); !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.EPIPE) {
					return fmt.Errorf("the sender sees %w, want a reset", err)
				}
				return nil
			},
			func() error {
				if err := expect(other, newSource(1), n); err != nil {
					return err
				}
				reset(t, breaker)
				return nil
			},
		)
		if got := f.wait(); got.end != end.end {
			t.Errorf("the flow ends as %v, want %v", got, end)
		}
	})
}

// TestResetAfterHalfClose resets after its own end was passed on.
func TestResetAfterHalfClose(t *testing.T) {
	sides(t, func(t *testing.T, f *testFlow, breaker, other *net.TCPConn, end result) {
		if err := transmit(breaker, newSource(1), 10, 10); err != nil {
			t.Error(err)
		}
		breaker.CloseWrite()
		if err := expectEnd(other, newSource(1), 10); err != nil {
			t.Error(err)
		}
		reset(t, breaker)
		if got := f.wait(); got.end != end.end {
			t.Errorf("the flow ends as %v, want %v", got, end)
		}
		// It has seen the end, so it learns of the reset when it writes.
		eventually(t, "a write to fail", func() bool { _, err := other.Write([]byte("a")); return err != nil })
	})
}

// TestResetAfterOtherEnded resets when the other side has ended its direction.
func TestResetAfterOtherEnded(t *testing.T) {
	sides(t, func(t *testing.T, f *testFlow, breaker, other *net.TCPConn, end result) {
		other.CloseWrite()
		if err := expectEnd(breaker, source{}, 0); err != nil {
			t.Error(err)
		}
		reset(t, breaker)
		wantReset(t, other)
		if got := f.wait(); got.end != end.end {
			t.Errorf("the flow ends as %v, want %v", got, end)
		}
	})
}

// TestResetOfAStalledFlow breaks it from either side while a pipe, or memory, is
// full of bytes for the server.
func TestResetOfAStalledFlow(t *testing.T) {
	for _, pipes := range []int{0, 1, 4} { // none: copied
		for _, byClient := range []bool{true, false} {
			t.Run(fmt.Sprintf("pipes %d by client %t", pipes, byClient), func(t *testing.T) {
				r := newRig(t, pipes, 16<<10)
				if pipes > 0 {
					r.spliceOnly()
				}
				f := r.carry()
				written := make(chan error, 1)
				go func() { written <- transmit(f.client, newSource(1), 1<<30, 10_000) }()
				eventually(t, "a stall", func() bool {
					held, spilled := f.stalled(0)
					return held || spilled
				})
				breaker, other := f.client, f.server
				if !byClient {
					breaker, other = other, breaker
				}
				reset(t, breaker)
				if err := <-written; err == nil {
					t.Error("the sender sees no error")
				}
				if got := f.wait().end; got != flow.DownstreamReset && byClient || got != flow.UpstreamReset && !byClient {
					t.Errorf("the flow ends as %v", got)
				}
				if byClient {
					sawReset(t, other)
				}
			})
		}
	}
}

// sawReset reads until a reset.
func sawReset(t *testing.T, c net.Conn) {
	t.Helper()
	buf := make([]byte, 4096)
	for {
		if _, err := c.Read(buf); err != nil {
			if !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("read ends with %v, want a reset", err)
			}
			return
		}
	}
}

func TestAbort(t *testing.T) {
	f := newRig(t, 0, 0).carry()
	parallel(t,
		func() error { return transmit(f.client, newSource(1), 1000, 1000) },
		func() error { return expect(f.server, newSource(1), 1000) },
	)
	f.r.do(func() {
		f.c.Abort(flow.Killed)
		f.c.Abort(flow.IdleTimeout) // the first is what counts
	})
	wantReset(t, f.client)
	wantReset(t, f.server)
	f.wantEnd(result{flow.Killed, ""}, 1000, 0)
}

// TestAbortAtOnce ends a flow that has not moved yet.
func TestAbortAtOnce(t *testing.T) {
	r := newRig(t, 0, 0)
	release := r.hold()
	done := make(chan *testFlow)
	go func() { done <- r.carry() }()
	release()
	f := <-done
	r.do(func() { f.c.Abort(flow.DrainTimeout) })
	wantReset(t, f.client)
	wantReset(t, f.server)
	f.wantEnd(result{flow.DrainTimeout, ""}, 0, 0)
}

// TestResetWhoseErrorWasTaken has somebody else ask the gateway's socket for its error,
// as the kernel does for one who writes to it by a sockmap. It must not pass for an end,
// and what such a writer then does to its own connection not for the cause.
func TestResetWhoseErrorWasTaken(t *testing.T) {
	for _, c := range []struct {
		name   string
		before int // bytes that the other sends in the same turn
		resets bool
	}{
		{name: "the other stays"},
		{name: "the other resets", resets: true},
		{name: "the other has sent, and resets", before: 1000, resets: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			sides(t, func(t *testing.T, f *testFlow, breaker, other *net.TCPConn, end result) {
				leg := 0
				if breaker == f.server {
					leg = 1
				}
				// The first look is over: what comes now is told by an event.
				if err := errors.Join(transmit(other, newSource(1), 100, 100), expect(breaker, newSource(1), 100)); err != nil {
					t.Fatal(err)
				}
				release := f.r.hold()
				if err := transmit(other, newSource(2), c.before, 1000); err != nil {
					t.Fatal(err)
				}
				acknowledged(t, other)
				breakAndTake(t, breaker, f.c.legs[leg].fd.Sys)
				if c.resets {
					reset(t, other)
					eventually(t, "the other reset", func() bool { return closed(f.c.legs[1-leg].fd.Sys) })
				}
				release()
				if !c.resets {
					wantReset(t, other)
				}
				f.wantEnd(end, 100*leg, 100*(1-leg))
			})
		})
	}
}

// breakAndTake resets a connection, and takes the error of its other end.
func breakAndTake(t *testing.T, breaker *net.TCPConn, fd int) {
	t.Helper()
	reset(t, breaker)
	eventually(t, "the reset", func() bool { return closed(fd) })
	if n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || n != int(unix.ECONNRESET) {
		t.Fatalf("the socket's error is %d, %v", n, err)
	}
}
