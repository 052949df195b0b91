package relay

import (
	"testing"

	"sluice/userspace/flow"
	"sluice/userspace/poll"
)

// leave asks the flow to leave its path.
func (f *testFlow) leave() (left bool) {
	f.r.do(func() { left = f.c.Leave() })
	return left
}

// TestLeave moves a flow to another path, which here is the same one again.
func TestLeave(t *testing.T) {
	r := newRig(t, 0, 0)
	f := r.carry()
	transfer := func() {
		t.Helper()
		parallel(t,
			func() error { return transmit(f.client, newSource(1), 100_000, 3000) },
			func() error { return expect(f.server, newSource(1), 100_000) })
	}
	transfer()
	r.do(func() {
		legs := [2]poll.FD{f.c.legs[0].fd, f.c.legs[1].fd}
		old := f.c
		if !old.Leave() {
			t.Error("a quiet flow may not leave")
			return
		}
		if old.Leave() {
			t.Error("it may leave twice")
		}
		f.c = r.path.Carry(&f.flow, legs[0], legs[1], old.over).(*carriage)
	})
	transfer()
	f.client.Close()
	if err := expectEnd(f.server, newSource(0), 0); err != nil {
		t.Error(err)
	}
	f.server.Close()
	f.wantEnd(result{flow.Closed, "by downstream"}, 200_000, 0)
}

// TestLeaveNotNow stays where it is while the path has bytes or an end of it.
func TestLeaveNotNow(t *testing.T) {
	r := newRig(t, 0, 16<<10).spliceOnly()
	const n = 4 << 20
	f := r.carry()
	sent := make(chan error, 1)
	go func() { sent <- transmit(f.client, newSource(1), n, 100_000) }()
	eventually(t, "the flow to stall", func() bool { held, _ := f.stalled(0); return held })
	if f.leave() {
		t.Fatal("a flow left that has bytes in a pipe")
	}
	if err := expect(f.server, newSource(1), n); err != nil {
		t.Error(err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	f.client.Close()
	if err := expectEnd(f.server, newSource(0), 0); err != nil {
		t.Error(err)
	}
	if f.leave() {
		t.Fatal("a flow left of which one direction is over")
	}
}
