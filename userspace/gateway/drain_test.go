package gateway

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
	"sluice/userspace/poll"
	"sluice/userspace/sni"
)

// drain drains in the background. The returned functions end the time it has,
// and wait for it.
func (r *rig) drain() (giveUp func(), wait func()) {
	ctx, cancel := context.WithCancel(r.t.Context())
	var running sync.WaitGroup
	running.Go(func() { r.Drain(ctx) })
	r.t.Cleanup(cancel)
	return cancel, running.Wait
}

// closed waits until the drain has begun, and checks that nobody listens any more.
func (r *rig) closed() {
	r.t.Helper()
	eventually(r.t, "all workers drain", func() bool {
		draining := true
		for _, w := range r.workers {
			// A worker that has nothing left is gone.
			if err := w.loop.Do(r.t.Context(), func() { draining = draining && w.draining }); err != nil && err != poll.ErrClosed {
				r.t.Fatal(err)
			}
		}
		return draining
	})
	c, err := net.Dial("tcp", r.Addrs()[0].String())
	if err == nil {
		c.Close()
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		r.t.Errorf("connect during a drain: %v, want %v", err, unix.ECONNREFUSED)
	}
}

// Flows go on until they end by themselves, and then the gateway is gone.
func TestDrain(t *testing.T) {
	r := start(t, func(s *setup) {
		s.Workers = 2
		s.lead("api.test", echo(t))
	})
	h := hello(t, "api.test")
	one, two := r.open(h), r.open(h)
	one.expect(h)
	two.expect(h)
	_, wait := r.drain()
	r.closed()
	for _, c := range []*client{one, two} {
		c.send([]byte("still there"))
		c.expect([]byte("still there"))
		c.CloseWrite()
		if _, reset := c.rest(); reset {
			t.Error("a flow was reset by a drain")
		}
	}
	wait()
	for _, f := range r.ends(2) {
		if f.End != flow.Closed {
			t.Errorf("ended as %v, want %v", f.End, flow.Closed)
		}
	}
	if err := <-r.done; err != nil {
		t.Errorf("Run: %v", err)
	}
	r.done <- nil
}

func TestDrainOfNothing(t *testing.T) {
	r := start(t, func(s *setup) { s.Workers = 2 })
	_, wait := r.drain()
	wait()
	// It is over: once more changes nothing.
	r.Drain(t.Context())
}

// A hello that was begun before the drain is heard to its end.
func TestDrainHearsHellosOut(t *testing.T) {
	r := start(t, func(s *setup) { s.lead("api.test", echo(t)) })
	h := hello(t, "api.test")
	c := r.open(h[:100])
	r.inStage(stageHello, 1)
	_, wait := r.drain()
	r.closed()
	c.send(h[100:])
	c.expect(h)
	c.CloseWrite()
	c.rest()
	wait()
	if f := r.ends(1)[0]; f.End != flow.Closed {
		t.Errorf("ended as %v, want %v", f.End, flow.Closed)
	}
}

// When its time is over a drain ends whatever is left, at each stage.
func TestDrainCuts(t *testing.T) {
	slow := hole(t)
	lead, ended := fate(t)
	r := start(t, func(s *setup) {
		lead(s)
		s.lead("hole.test", slow)
	})
	h := hello(t, "api.test")
	carried := r.open(h)
	carried.expect(h)
	talking := r.open(h[:100])
	connecting := r.open(hello(t, "hole.test"))
	r.inStage(stageHello, 1)
	r.inStage(stageConnect, 1)
	giveUp, wait := r.drain()
	r.closed()
	giveUp()
	wait()

	carried.expectCut()
	if err := <-ended; err == nil {
		t.Error("the server got an orderly end, want a reset")
	}
	talking.expectAlert(sni.AlertInternalError)
	connecting.expectAlert(sni.AlertInternalError)
	count := map[flow.End]int{}
	for _, f := range r.ends(3) {
		count[f.End]++
	}
	if count[flow.DrainTimeout] != 1 || count[flow.Draining] != 2 {
		t.Errorf("flows ended as %v, want one %v and two %v", count, flow.DrainTimeout, flow.Draining)
	}
}

// A refused client that lingers does not hold a drain up for long, and not at
// all when its time is over.
func TestDrainCutsLingering(t *testing.T) {
	r := start(t, func(*setup) {})
	c := r.open(hello(t, "other.test"))
	c.expectAlert(sni.AlertUnrecognizedName)
	giveUp, wait := r.drain()
	giveUp()
	wait()
	r.ends(1)
}

// The kernel has taken connections that the gateway has not accepted yet: their
// clients know nothing of a drain, so they are served.
func TestDrainServesTheQueue(t *testing.T) {
	r := prepare(t, func(s *setup) { s.lead("api.test", echo(t)) })
	h := hello(t, "api.test")
	var clients []*client
	for range 3 * acceptTurn {
		clients = append(clients, r.open(h))
	}
	_, wait := r.drain()
	time.Sleep(10 * time.Millisecond) // so that it most likely comes before Run
	r.run()
	for _, c := range clients {
		c.expect(h)
		c.CloseWrite()
		if _, reset := c.rest(); reset {
			t.Fatal("a connection from the queue was reset")
		}
	}
	wait()
	for _, f := range r.ends(len(clients)) {
		if f.End != flow.Closed {
			t.Errorf("ended as %v, want %v", f.End, flow.Closed)
		}
	}
}

// Bytes counts flows while they live, and as much when they are over.
func TestBytes(t *testing.T) {
	r := start(t, func(s *setup) {
		s.Workers = 2
		s.lead("api.test", echo(t))
	})
	h := hello(t, "api.test")
	check := func(want int) {
		t.Helper()
		if sent, received := r.Bytes(); sent != uint64(want) || received != uint64(want) {
			t.Errorf("%d bytes sent, %d received, want %d", sent, received, want)
		}
	}
	check(0)
	one, two := r.open(h), r.open(h)
	one.expect(h)
	two.expect(h)
	check(2 * len(h))
	one.CloseWrite()
	one.rest()
	r.ends(1)
	check(2 * len(h))
	two.send([]byte("more"))
	two.expect([]byte("more"))
	check(2*len(h) + 4)
	r.open(hello(t, "other.test")).expectAlert(sni.AlertUnrecognizedName)
	check(2*len(h) + 4)
	two.reset()
	r.ends(3)
	check(2*len(h) + 4)
	r.stop()
	check(2*len(h) + 4)
}

// A loop that is too busy to be asked does not make the sum smaller: a counter
// that goes back is taken for one that began again.
func TestBytesOfABusyLoop(t *testing.T) {
	r := start(t, func(s *setup) { s.lead("api.test", echo(t)) })
	h := hello(t, "api.test")
	r.open(h).expect(h)
	before, _ := r.Bytes()
	if before != uint64(len(h)) {
		t.Errorf("%d bytes sent, want %d", before, len(h))
	}
	release := make(chan struct{})
	r.workers[0].loop.Post(func() { <-release })
	after, _ := r.Bytes()
	close(release)
	if after < before {
		t.Errorf("%d bytes sent after %d", after, before)
	}
	r.inside(func(*worker) {})
}
