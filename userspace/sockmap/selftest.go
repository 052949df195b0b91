package sockmap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
	"sluice/userspace/poll"
	"sluice/userspace/route"
	"sluice/userspace/slot"
)

const (
	// testPatience is how long a check waits for what should come at once. A host
	// can be busy.
	testPatience = 5 * time.Second
	testCredit   = 64 << 10
	testRoute    = "sluice's self-test" // no server name has a space
)

// SelfTest sends bytes over the path between sockets on loopback, and fails unless
// each of them comes out where and when it should: a kernel that garbles streams
// must not be given any. It takes well under a second when all is well. The loops
// of the workers must not run on ring yet, which is lent to it.
func (e *Engine) SelfTest(ring int) error {
	r, err := e.newTestRig(ring)
	if err != nil {
		return fmt.Errorf("prepare the self-test: %w", err)
	}
	checks := []struct {
		name string
		run  func(*testRig) error
	}{
		{"bytes queued before the insert", (*testRig).early},
		{"half-close", (*testRig).halfClose},
		{"overlapping retransmission", (*testRig).overlap},
		{"back-pressure", (*testRig).backPressure},
		{"reset by the client", func(r *testRig) error { return r.reset(0) }},
		{"reset by the server", func(r *testRig) error { return r.reset(1) }},
	}
	for _, check := range checks {
		if err = check.run(r); err != nil {
			err = fmt.Errorf("self-test, %s: %w", check.name, err)
			break
		}
	}
	return errors.Join(err, r.close())
}

// testRig is a loop of its own with a path on it.
type testRig struct {
	e      *Engine
	loop   *poll.Loop
	path   *Path
	listen int
	ended  chan error
	flows  []*testFlow
}

func (e *Engine) newTestRig(ring int) (*testRig, error) {
	if err := e.SetPolicy(testRoute, slot.Policy{Rule: slot.On, Credit: testCredit}); err != nil {
		return nil, err
	}
	loop, err := poll.New()
	if err != nil {
		return nil, err
	}
	r := &testRig{e: e, loop: loop, listen: -1, ended: make(chan error, 1)}
	go func() { r.ended <- loop.Run() }()
	if r.path, err = e.Path(loop, ring, noFallback{}); err == nil {
		r.listen, err = listenLocally()
	}
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// close ends what still runs, and gives back all that the rig has.
func (r *testRig) close() error {
	err := r.do(func() {
		for _, f := range r.flows {
			if !f.over {
				f.c.Abort(flow.Killed)
			}
		}
		if r.path != nil {
			r.path.Close()
		}
		r.loop.Stop()
	})
	for _, f := range r.flows {
		unix.Close(f.peers[0])
		unix.Close(f.peers[1])
	}
	if r.listen >= 0 {
		unix.Close(r.listen)
	}
	return errors.Join(err, <-r.ended, r.e.ClearPolicy(testRoute))
}

// do calls f on the loop.
func (r *testRig) do(f func()) error {
	ctx, cancel := context.WithTimeout(context.Background(), testPatience)
	defer cancel()
	return r.loop.Do(ctx, f)
}

// testFlow is a flow with the two peers that it connects: client and server.
type testFlow struct {
	r     *testRig
	flow  flow.Flow
	peers [2]int
	own   [2]int
	c     flow.Carriage
	over  bool // as the loop knows it
	end   chan flow.End
}

// connect makes both connections of a flow.
func (r *testRig) connect() (*testFlow, error) {
	f := &testFlow{r: r, end: make(chan flow.End, 1), peers: [2]int{-1, -1}}
	f.flow.Route = &route.Route{Name: testRoute}
	for i := range f.peers {
		var err error
		if f.peers[i], f.own[i], err = connectTo(r.listen); err != nil {
			if i == 1 {
				unix.Close(f.peers[0])
				unix.Close(f.own[0])
			}
			return nil, err
		}
	}
	return f, nil
}

// carry gives the flow to the path.
func (f *testFlow) carry() error {
	f.r.flows = append(f.r.flows, f)
	var err error
	return errors.Join(f.r.do(func() {
		var fds [2]poll.FD
		for i := range fds {
			var e error
			fds[i], e = f.r.loop.Add(f.own[i], poll.Stream, ignore{})
			err = errors.Join(err, e)
		}
		if err != nil {
			return
		}
		f.c = f.r.path.Carry(&f.flow, fds[0], fds[1], func(end flow.End, _ string) {
			f.over = true
			f.end <- end
		})
		if f.flow.Path != f.r.path.Name() {
			err = errors.New("the kernel does not take the sockets")
		}
	}), err)
}

// wantEnd waits for the flow to end, and in the right way.
func (f *testFlow) wantEnd(want flow.End) error {
	select {
	case end := <-f.end:
		if end != want {
			return fmt.Errorf("the flow ends as %s, not %s", end, want)
		}
		return nil
	case <-time.After(testPatience):
		return errors.New("the flow does not end")
	}
}

// testBytes are bytes that look like nothing else.
func testBytes(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

// expectBytes reads exactly what is wanted, and the end of the stream if that is.
func expectBytes(fd int, want []byte, end bool) error {
	got, n := make([]byte, len(want)), 0
	if end {
		got = make([]byte, len(want)+1)
	}
	for n < len(got) {
		m, _, err := unix.Recvfrom(fd, got[n:], 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", n, len(want), err)
		}
		if n += m; m == 0 {
			break
		}
	}
	if !bytes.Equal(got[:n], want) {
		return fmt.Errorf("%d bytes came out, and %d went in, or not the same", n, len(want))
	}
	return nil
}

// sendBytes writes all of b.
func sendBytes(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.SendmsgN(fd, b, nil, nil, unix.MSG_NOSIGNAL)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("send: %w", err)
		}
		b = b[n:]
	}
	return nil
}

type ignore struct{}

func (ignore) Ready(poll.Events) {}

// noFallback closes what it gets: the self-test wants the path itself.
type noFallback struct{}

func (noFallback) Name() string { return "none" }

func (noFallback) Carry(_ *flow.Flow, down, up poll.FD, over func(flow.End, string)) flow.Carriage {
	return nothing{}
}

type nothing struct{}

func (nothing) Active() time.Duration { return 0 }
func (nothing) Abort(flow.End)        {}
func (nothing) Tally()                {}
