package sockmap

import (
	"testing"
	"time"

	"sluice/userspace/flow"
	"sluice/userspace/poll"
	"sluice/userspace/slot"
)

// moving carries flows on splice until they are moved.
type moving struct {
	*testFlow
	fds [2]poll.FD
}

func (m *moving) Carry(f *flow.Flow, down, up poll.FD, over func(flow.End, string)) flow.Carriage {
	m.fds = [2]poll.FD{down, up}
	return m.r.splice.Carry(f, down, up, over)
}

// move takes the flow from splice to sockmap as soon as it can be.
func (m *moving) move() {
	m.r.t.Helper()
	eventually(m.r.t, "the flow to leave the splice path", func() bool {
		left := false
		m.r.do(func() {
			if left = m.c.(flow.Movable).Leave(); left {
				m.c = m.r.path.Carry(&m.flow, m.fds[0], m.fds[1], m.over)
			}
		})
		return left
	})
}

// TestMoveWhileBytesMove hands flows over in the middle of transfers both ways.
func TestMoveWhileBytesMove(t *testing.T) {
	const n = 32 << 20
	r := newRig(t, options{})
	for i := range 10 {
		f := &moving{testFlow: r.connect()}
		f.startOn(f)
		parallel(t,
			func() error { return transmit(f.client, newSource(1), n, 100_000) },
			func() error { return expect(f.server, newSource(1), n) },
			func() error { return transmit(f.server, newSource(2), n, 100_000) },
			func() error { return expect(f.client, newSource(2), n) },
			func() error {
				time.Sleep(time.Duration(i) * time.Millisecond) // at different moments
				f.move()
				return nil
			})
		f.client.Close()
		f.server.Close()
		f.wait()
		if s, r := f.flow.Sent.Load(), f.flow.Received.Load(); s != n || r != n {
			t.Errorf("counted %d bytes sent and %d received", s, r)
		}
		if f.flow.Path != "sockmap" {
			t.Errorf("path %q", f.flow.Path)
		}
	}
	if r.count(slot.Redirected) == 0 {
		t.Error("nothing was redirected")
	}
}
