package sockmap

import (
	"fmt"
	"net"
	"testing"

	"sluice/userspace/flow"
)

// sides has a test run with the client and then with the server as the one that
// acts.
func sides(t *testing.T, test func(t *testing.T, f *testFlow, actor, other *net.TCPConn, reset result)) {
	const why = "connection reset by peer"
	t.Run("client", func(t *testing.T) {
		f := newRig(t, options{}).carry()
		test(t, f, f.client, f.server, result{flow.DownstreamReset, why})
	})
	t.Run("server", func(t *testing.T) {
		f := newRig(t, options{}).carry()
		test(t, f, f.server, f.client, result{flow.UpstreamReset, why})
	})
}

// TestHalfClose is fact 4: an end must not overtake what came before it. A naive
// shutdown at the sight of the end truncates about half of such streams.
func TestHalfClose(t *testing.T) {
	sides(t, func(t *testing.T, f *testFlow, actor, other *net.TCPConn, _ result) {
		for i := range 40 {
			if i > 0 {
				next := f.r.carry()
				if actor == f.client {
					actor, other = next.client, next.server
				} else {
					actor, other = next.server, next.client
				}
				f = next
			}
			n := 1 + i*50_000
			parallel(t,
				func() error {
					if err := transmit(actor, newSource(3), n, 60_000); err != nil {
						return err
					}
					return actor.CloseWrite()
				},
				func() error { return expectEnd(other, newSource(3), n) })
			// The other direction goes on as before.
			parallel(t,
				func() error {
					if err := transmit(other, newSource(4), n, 60_000); err != nil {
						return err
					}
					return other.CloseWrite()
				},
				func() error { return expectEnd(actor, newSource(4), n) })
			f.wait()
			if f.last.end != flow.Closed {
				t.Fatalf("flow %d ends as %v %q", i, f.last.end, f.last.detail)
			}
		}
	})
}

func TestResetOfAnIdleFlow(t *testing.T) {
	sides(t, func(t *testing.T, f *testFlow, actor, other *net.TCPConn, want result) {
		reset(t, actor)
		wantReset(t, other)
		f.wantEnd(want, 0, 0)
	})
}

// TestBytesBeforeAReset has a stream and then a reset: what came before the reset
// gets through.
func TestBytesBeforeAReset(t *testing.T) {
	for _, n := range []int{1, 4000, 30_000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			sides(t, func(t *testing.T, f *testFlow, actor, other *net.TCPConn, want result) {
				if err := transmit(actor, newSource(1), n, 1000); err != nil {
					t.Error(err)
				}
				acknowledged(t, actor)
				reset(t, actor)
				if err := expect(other, newSource(1), n); err != nil {
					t.Error(err)
				}
				wantReset(t, other)
				if got := f.wait(); got != want {
					t.Errorf("the flow ends as %v, want %v", got, want)
				}
			})
		})
	}
}

func TestAbort(t *testing.T) {
	f := newRig(t, options{}).carry()
	f.r.do(func() { f.c.Abort(flow.Killed) })
	wantReset(t, f.client)
	wantReset(t, f.server)
	f.wantEnd(result{flow.Killed, ""}, 0, 0)
}
