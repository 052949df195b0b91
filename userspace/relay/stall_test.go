package relay

import (
	"net"
	"sync/atomic"
	"testing"
)

// counted counts what is written to a connection.
type counted struct {
	net.Conn
	n atomic.Int64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.n.Add(int64(n))
	return n, err
}

// TestBackPressure has a reader that does not read: its sender must be stopped
// after the buffers on the way are full, and all must arrive after all.
func TestBackPressure(t *testing.T) {
	// Three socket buffers of 128 KiB, doubled by the kernel, twice, and a pipe
	// come to less than 3 MiB.
	const n, bound = 32 << 20, 4 << 20
	f := newRig(t, 4, 128<<10).spliceOnly().carry()
	sender := &counted{Conn: f.client}
	sent := make(chan error, 1)
	go func() { sent <- transmit(sender, newSource(1), n, 30_000) }()
	eventually(t, "a stall", func() bool { held, _ := f.stalled(0); return held })
	// It may go on until its own buffer is full; it must never pass the bound.
	for quiet, last := 0, int64(0); quiet < 100; {
		f.r.do(func() {})
		now := sender.n.Load()
		if quiet++; now != last {
			quiet, last = 0, now
		}
		if now > bound {
			t.Fatalf("%d bytes were accepted for a reader that does not read", now)
		}
	}
	// The way back does not mind.
	parallel(t,
		func() error { return transmit(f.server, newSource(2), bound, 30_000) },
		func() error { return expect(f.client, newSource(2), bound) },
	)
	if got := sender.n.Load(); got > bound {
		t.Errorf("%d bytes were accepted for a reader that does not read", got)
	}
	if err := expect(f.server, newSource(1), n); err != nil {
		t.Error(err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	f.server.CloseWrite()
	f.client.CloseWrite()
	f.wait()
	f.wantBytes(n, bound)
}

// TestMoreStalledFlowsThanPipes stalls many flows both ways: what they hold goes
// to memory, others keep moving, and all arrives in the end.
func TestMoreStalledFlowsThanPipes(t *testing.T) {
	const pipes, stalled, n = 2, 12, 3 << 20
	r := newRig(t, pipes, 32<<10).spliceOnly()
	var flows []*testFlow
	sent := make(chan error, 2*stalled)
	for i := range stalled {
		f := r.carry()
		flows = append(flows, f)
		go func() { sent <- transmit(f.client, newSource(byte(i)), n, 20_000) }()
		go func() { sent <- transmit(f.server, newSource(byte(100+i)), n, 20_000) }()
	}
	eventually(t, "all flows to stall both ways", func() bool {
		inPipe, inMemory := 0, 0
		for _, f := range flows {
			for i := range 2 {
				held, spilled := f.stalled(i)
				if held {
					inPipe++
				}
				if spilled {
					inMemory++
				}
			}
		}
		// One pipe is for the flows that move.
		return inPipe == pipes-1 && inMemory == 2*stalled-inPipe
	})
	r.do(func() {
		if open := r.path.pipes.open; open != pipes {
			t.Errorf("%d pipes are open, want %d", open, pipes)
		}
	})

	free := r.carry()
	parallel(t,
		func() error { return transmit(free.client, newSource(201), n, 20_000) },
		func() error { return transmit(free.server, newSource(202), n, 20_000) },
		func() error { return expect(free.server, newSource(201), n) },
		func() error { return expect(free.client, newSource(202), n) },
	)

	var work []func() error
	for i, f := range flows {
		work = append(work,
			func() error { return expect(f.server, newSource(byte(i)), n) },
			func() error { return expect(f.client, newSource(byte(100+i)), n) },
			func() error { return <-sent },
			func() error { return <-sent },
		)
	}
	parallel(t, work...)
	for _, f := range append(flows, free) {
		f.client.Close()
		f.server.Close()
		f.wait()
		f.wantBytes(n, n)
	}
}

// TestPoolGrowsWithStalledFlows opens pipes as they are needed, up to the most
// allowed, and keeps them.
func TestPoolGrowsWithStalledFlows(t *testing.T) {
	r := newRig(t, 5, 16<<10).spliceOnly()
	open := func() (n int) {
		r.do(func() { n = r.path.pipes.open })
		return n
	}
	if n := open(); n != 1 {
		t.Errorf("%d pipes at first, want 1", n)
	}
	for i := range 7 {
		f := r.carry()
		go func() {
			// It ends with an error when the test is over.
			_ = transmit(f.client, newSource(1), 1<<30, 10_000)
		}()
		eventually(t, "a stall", func() bool {
			held, spilled := f.stalled(0)
			return held && i < 4 || spilled && i >= 4
		})
		if n := open(); n != min(i+2, 5) {
			t.Errorf("%d pipes with %d flows stalled, want %d", n, i+1, min(i+2, 5))
		}
	}
}
