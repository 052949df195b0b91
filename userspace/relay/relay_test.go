package relay

import (
	"fmt"
	"testing"

	"sluice/userspace/flow"
)

var (
	closedByClient = result{flow.Closed, "by downstream"}
	closedByServer = result{flow.Closed, "by upstream"}
)

func TestBothWaysAtOnce(t *testing.T) {
	const n = 24 << 20
	for _, piece := range []int{700, 1 << 20} {
		t.Run(fmt.Sprint("pieces of ", piece), func(t *testing.T) {
			n := n
			if piece < 1<<10 {
				n /= 4
			}
			f := newRig(t, 0, 0).carry()
			parallel(t,
				func() error { return transmit(f.client, newSource(1), n, piece) },
				func() error { return transmit(f.server, newSource(2), n+77, piece) },
				func() error { return expect(f.server, newSource(1), n) },
				func() error { return expect(f.client, newSource(2), n+77) },
			)
			f.client.CloseWrite()
			if err := expectEnd(f.server, source{}, 0); err != nil {
				t.Error(err)
			}
			f.server.Close()
			f.wantEnd(closedByClient, n, n+77)
		})
	}
}

func TestManyFlowsAtOnce(t *testing.T) {
	const n = 1 << 20
	r := newRig(t, 0, 0)
	var work []func() error
	var flows []*testFlow
	for i := range 32 {
		f := r.carry()
		flows = append(flows, f)
		work = append(work,
			func() error { defer f.client.CloseWrite(); return transmit(f.client, newSource(byte(i)), n, 50_000) },
			func() error { return expectEnd(f.server, newSource(byte(i)), n) },
			func() error { defer f.server.CloseWrite(); return transmit(f.server, newSource(byte(i+99)), n, 3000) },
			func() error { return expectEnd(f.client, newSource(byte(i+99)), n) },
		)
	}
	parallel(t, work...)
	for _, f := range flows {
		f.wait()
		f.wantBytes(n, n)
	}
}

func TestSingleBytes(t *testing.T) {
	const n = 3000
	f := newRig(t, 0, 0).carry()
	parallel(t,
		func() error { return transmit(f.client, newSource(1), n, 1) },
		func() error { return transmit(f.server, newSource(2), n, 1) },
		func() error { return expect(f.server, newSource(1), n) },
		func() error { return expect(f.client, newSource(2), n) },
	)
	f.server.Close()
	if err := expectEnd(f.client, source{}, 0); err != nil {
		t.Error(err)
	}
	f.client.Close()
	f.wantEnd(closedByServer, n, n)
}

// TestHalfClose ends one direction first; the other goes on for long after it.
func TestHalfClose(t *testing.T) {
	const few, many = 100, 8 << 20
	for _, clientFirst := range []bool{true, false} {
		t.Run(fmt.Sprint("client first ", clientFirst), func(t *testing.T) {
			f := newRig(t, 0, 0).carry()
			first, second, want, sent, received := f.client, f.server, closedByClient, few, many
			if !clientFirst {
				first, second, want, sent, received = f.server, f.client, closedByServer, many, few
			}
			if err := transmit(first, newSource(1), few, few); err != nil {
				t.Fatal(err)
			}
			first.CloseWrite()
			if err := expectEnd(second, newSource(1), few); err != nil {
				t.Fatal(err)
			}
			parallel(t,
				func() error { defer second.Close(); return transmit(second, newSource(2), many, 60_000) },
				func() error { return expectEnd(first, newSource(2), many) },
			)
			f.wantEnd(want, sent, received)
		})
	}
}

func TestEndWithoutAByte(t *testing.T) {
	f := newRig(t, 0, 0).carry()
	f.client.Close()
	if err := expectEnd(f.server, source{}, 0); err != nil {
		t.Error(err)
	}
	f.server.Close()
	f.wantEnd(closedByClient, 0, 0)
}

// TestEndComesLast has the end in the sender's queue long before the reader
// begins to read, in small pieces: it must not overtake any byte.
func TestEndComesLast(t *testing.T) {
	const n = 2 << 20
	for name, rigged := range map[string]func(*testing.T) *rig{
		"copied":        func(t *testing.T) *rig { return newRig(t, 0, 16<<10) },
		"in a pipe":     func(t *testing.T) *rig { return newRig(t, 0, 16<<10).spliceOnly() },
		"out of a pipe": func(t *testing.T) *rig { return newRig(t, 1, 16<<10).spliceOnly() },
	} {
		t.Run(name, func(t *testing.T) {
			f := rigged(t).carry()
			sent := make(chan error, 1)
			go func() {
				err := transmit(f.client, newSource(1), n, 10_000)
				f.client.CloseWrite()
				sent <- err
			}()
			eventually(t, "a stall", func() bool {
				held, spilled := f.stalled(0)
				return held || spilled
			})
			src := newSource(1)
			for done := 0; done < n; done += 512 {
				if err := expect(f.server, src, 512); err != nil {
					t.Fatal(err)
				}
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
			if err := expectEnd(f.server, src, 0); err != nil {
				t.Error(err)
			}
			f.server.Close()
			f.wantEnd(closedByClient, n, 0)
		})
	}
}

// TestCloseBothAtOnce lets the two ends cross.
func TestCloseBothAtOnce(t *testing.T) {
	r := newRig(t, 0, 0)
	for i := range 300 {
		f := r.carry()
		n := i * 100
		parallel(t,
			func() error { defer f.client.CloseWrite(); return transmit(f.client, newSource(1), n, 5000) },
			func() error { defer f.server.CloseWrite(); return transmit(f.server, newSource(2), n, 5000) },
			func() error { return expectEnd(f.client, newSource(2), n) },
			func() error { return expectEnd(f.server, newSource(1), n) },
		)
		if got := f.wait(); got.end != flow.Closed {
			t.Errorf("the flow ends as %v %q", got.end, got.detail)
		}
		f.wantBytes(n, n)
		f.client.Close()
		f.server.Close()
	}
}

func TestActive(t *testing.T) {
	r := newRig(t, 0, 0)
	f := r.carry()
	active := func() (at, now int64) {
		r.do(func() { at, now = int64(f.c.Active()), int64(r.loop.Now()) })
		return at, now
	}
	start, _ := active()
	r.do(func() {})
	if at, now := active(); at != start || now <= at {
		t.Errorf("active at %d without a byte, begun at %d, now %d", at, start, now)
	}
	for _, way := range []struct {
		name string
		do   func() error
	}{
		{"a byte sent", func() error { return transmit(f.client, newSource(1), 1, 1) }},
		{"a byte received", func() error { return transmit(f.server, newSource(1), 1, 1) }},
		{"an end", f.client.CloseWrite},
	} {
		before, _ := active()
		if err := way.do(); err != nil {
			t.Fatal(err)
		}
		eventually(t, way.name+" to count as activity", func() bool { at, _ := active(); return at > before })
	}
}

func TestName(t *testing.T) {
	r := newRig(t, 0, 0)
	if r.path.Name() != "splice" || r.path.Admit(&flow.Flow{}) != nil {
		t.Error("the path must be called splice and admit every flow")
	}
	if r.path.pipes.max != DefaultPipes {
		t.Errorf("at most %d pipes, want the default", r.path.pipes.max)
	}
}
