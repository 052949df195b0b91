package sockmap

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"sluice/userspace/flow"
	"sluice/userspace/route"
	"sluice/userspace/slot"
	"sluice/userspace/sockmap"
)

// shape is how a flow goes, by chance.
type shape struct {
	bytes  [2]int // from client and from server
	piece  int
	pauses [2]bool // the readers stop now and then
	ending string
	moved  bool // begins on the splice path
}

func newShape(rnd *rand.Rand) shape {
	size := func() int { return rnd.IntN(1 << (1 + rnd.IntN(22))) }
	sizes := [2]int{size(), size()}
	return shape{
		bytes:  sizes,
		piece:  1 + max(sizes[0], sizes[1])/1000 + rnd.IntN(1<<(1+rnd.IntN(17))),
		pauses: [2]bool{rnd.IntN(4) == 0, rnd.IntN(4) == 0},
		ending: []string{"each", "each", "client first", "server first", "client resets", "server resets", "abort"}[rnd.IntN(7)],
		moved:  rnd.IntN(3) == 0,
	}
}

// TestShapes carries flows of random shapes while policies change. SLUICE_LONG=1
// makes more of them, and SLUICE_SEED repeats those of an earlier run, as far as
// time lets it.
func TestShapes(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("SLUICE_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("SLUICE_SEED=%d", seed)
	r := newRig(t, options{config: sockmap.Config{Credit: 128 << 10}})
	stop := r.changePolicies(seed)
	const lanes = 8
	total := scale(400, 20_000)
	var all []func() error
	for l := range lanes {
		all = append(all, func() error {
			for i := l; i < total; i += lanes {
				s := newShape(rand.New(rand.NewPCG(seed, uint64(i))))
				if err := r.shaped(s, i); err != nil {
					return fmt.Errorf("flow %d, %+v: %w", i, s, err)
				}
			}
			return nil
		})
	}
	parallel(t, all...)
	stop()
	r.wantEmpty()
	if why := r.engine.Off(); why != "" || r.engine.Broken() > 0 {
		t.Errorf("%d flows were broken, off because of %q", r.engine.Broken(), why)
	}
	for why := range slot.Reasons {
		t.Logf("%s: %d", why, r.count(why))
	}
}

// changePolicies changes the policies of two routes until it is stopped.
func (r *rig) changePolicies(seed uint64) (stop func()) {
	var stopped atomic.Bool
	done := make(chan struct{})
	rnd := rand.New(rand.NewPCG(seed, 1))
	go func() {
		defer close(done)
		for ; !stopped.Load(); time.Sleep(time.Millisecond) {
			p := slot.Policy{Rule: slot.Rule(rnd.IntN(3)), Credit: uint32(rnd.IntN(512 << 10))}
			if err := r.engine.SetPolicy(fmt.Sprintf("route %d", rnd.IntN(2)), p); err != nil {
				r.t.Error(err)
			}
		}
	}()
	return func() {
		stopped.Store(true)
		<-done
		for i := range 2 {
			if err := r.engine.ClearPolicy(fmt.Sprintf("route %d", i)); err != nil {
				r.t.Error(err)
			}
		}
	}
}

// shaped carries one flow.
func (r *rig) shaped(s shape, i int) error {
	f := r.connect()
	defer f.client.Close()
	defer f.server.Close()
	f.flow.Route = &route.Route{Name: fmt.Sprintf("route %d", i%3)}
	if s.moved {
		m := &moving{testFlow: f}
		f.carryOn(m)
		time.AfterFunc(time.Duration(i%5)*time.Millisecond, func() {
			r.loop.Post(func() {
				if c, ok := f.c.(flow.Movable); ok && c.Leave() {
					f.c = r.path.Carry(&f.flow, m.fds[0], m.fds[1], f.over)
				}
			})
		})
	} else {
		f.carryOn(r.path)
	}
	switch s.ending {
	case "abort", "client resets", "server resets":
		return f.cut(s)
	}
	return f.whole(s)
}

// whole carries all bytes both ways, and both ends.
func (f *testFlow) whole(s shape) error {
	peers := [2]*net.TCPConn{f.client, f.server}
	received := [2]chan struct{}{make(chan struct{}), make(chan struct{})} // by client, by server
	send := func(i int) error {
		switch {
		case s.ending == "client first" && i == 1:
			<-received[1]
		case s.ending == "server first" && i == 0:
			<-received[0]
		}
		if err := transmit(peers[i], newSource(byte(i)), s.bytes[i], s.piece); err != nil {
			return err
		}
		return peers[i].CloseWrite()
	}
	receive := func(i int) error {
		defer close(received[i])
		n, err := prefix(peers[i], newSource(byte(1-i)), s.pauses[i])
		if err == nil && n != s.bytes[1-i] {
			err = errors.New("the end came early")
		}
		if err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", n, s.bytes[1-i], err)
		}
		return nil
	}
	errs := make(chan error, 4)
	for i := range 2 {
		go func() { errs <- send(i) }()
		go func() { errs <- receive(i) }()
	}
	var err error
	for range 4 {
		err = errors.Join(err, <-errs)
	}
	if got := f.wait(); got.end != flow.Closed {
		err = errors.Join(err, fmt.Errorf("it ends as %v %q", got.end, got.detail))
	}
	if err != nil {
		return err
	}
	if s0, s1 := f.flow.Sent.Load(), f.flow.Received.Load(); s0 != uint64(s.bytes[0]) || s1 != uint64(s.bytes[1]) {
		return fmt.Errorf("counted %d bytes sent and %d received", s0, s1)
	}
	return nil
}

// cut breaks the flow in the middle: what comes out must be the beginning of what
// went in.
func (f *testFlow) cut(s shape) error {
	peers := [2]*net.TCPConn{f.client, f.server}
	errs := make(chan error, 2)
	for i := range 2 {
		go func() { _ = transmit(peers[i], newSource(byte(i)), s.bytes[i], s.piece) }()
		go func() {
			_, err := prefix(peers[i], newSource(byte(1-i)), s.pauses[i])
			if !errors.Is(err, errWrong) {
				err = nil
			}
			errs <- err
		}()
	}
	time.Sleep(time.Duration(s.piece%3) * time.Millisecond)
	switch s.ending {
	case "abort":
		f.r.loop.Post(func() { f.c.Abort(flow.Killed) })
	case "client resets":
		_ = f.client.SetLinger(0)
		_ = f.client.Close()
	case "server resets":
		_ = f.server.SetLinger(0)
		_ = f.server.Close()
	}
	err := errors.Join(<-errs, <-errs)
	if got := f.wait(); got.end == flow.PathError {
		err = errors.Join(err, fmt.Errorf("it ends as %v %q", got.end, got.detail))
	}
	return err
}

var errWrong = errors.New("wrong bytes")

// prefix reads to the end of the stream, whose bytes must be those of src.
func prefix(c net.Conn, src source, pauses bool) (int, error) {
	got, want := make([]byte, 32<<10), make([]byte, 32<<10)
	for n := 0; ; {
		m, err := c.Read(got)
		src.Read(want[:m])
		if !bytes.Equal(got[:m], want[:m]) {
			return n, fmt.Errorf("%w within %d", errWrong, n+m)
		}
		n += m
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if pauses && n%7 == 0 {
			time.Sleep(5 * time.Millisecond)
		}
	}
}
