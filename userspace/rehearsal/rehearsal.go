// Package rehearsal has a path carry flows between sockets on loopback before it gets
// any of a client's: a kernel that garbles streams must not be given those.
//
// A Rig is a loop of its own with the path on it, and the checks are what every path
// must pass: bytes that came before it, bytes that a slow receiver leaves waiting, the
// end of one direction and of both, and a reset. A path adds those that are about
// itself.
package rehearsal

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
)

const (
	// Patience is how long a check waits for what should come at once. A host can be
	// busy.
	Patience = 5 * time.Second
	// Credit is the size of the peers' buffers.
	Credit = 64 << 10
	// Route is that of the flows.
	Route = "sluice's self-test" // no server name has a space
)

// Path is what rehearses. Its flows' sockets are closed by it, as of gateway.Path.
type Path interface {
	Carry(f *flow.Flow, down, up poll.FD, over func(flow.End, string)) flow.Carriage
	Close()
}

// Check is one of the checks, by what it is about.
type Check struct {
	Name string
	Run  func(*Rig) error
}

// Checks are those for every path.
var Checks = []Check{
	{"bytes that came before", (*Rig).early},
	{"half-close", (*Rig).halfClose},
	{"back-pressure", (*Rig).backPressure},
	{"reset by the client", func(r *Rig) error { return r.reset(0) }},
	{"reset by the server", func(r *Rig) error { return r.reset(1) }},
}

// Run makes a rig, has it do the checks until one fails, and takes it apart. Flows must
// have name as their path; make is given the rig's loop.
func Run(name string, make func(*poll.Loop) (Path, error), checks []Check) error {
	r, err := newRig(name, make)
	if err != nil {
		return fmt.Errorf("prepare the self-test: %w", err)
	}
	for _, check := range checks {
		if err = check.Run(r); err != nil {
			err = fmt.Errorf("self-test, %s: %w", check.Name, err)
			break
		}
	}
	return errors.Join(err, r.close())
}

// Rig is a loop of its own with a path on it.
type Rig struct {
	name   string // of the path, as flows have it
	loop   *poll.Loop
	path   Path
	listen int
	ended  <-chan error
	flows  []*Flow
}

func newRig(name string, make func(*poll.Loop) (Path, error)) (*Rig, error) {
	loop, err := poll.New()
	if err != nil {
		return nil, err
	}
	r := &Rig{name: name, loop: loop, listen: -1, ended: run(loop)}
	if r.path, err = make(loop); err == nil {
		r.listen, err = Listen()
	}
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// run runs a loop, and tells of its end.
func run(loop *poll.Loop) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- loop.Run() }()
	return ended
}

// close ends what still runs, and gives back all that the rig has.
func (r *Rig) close() error {
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
		unix.Close(f.Peers[0])
		unix.Close(f.Peers[1])
	}
	if r.listen >= 0 {
		unix.Close(r.listen)
	}
	return errors.Join(err, <-r.ended)
}

// do calls f on the loop.
func (r *Rig) do(f func()) error {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	return r.loop.Do(ctx, f)
}

// Flow is a flow with the two peers that it connects: client and server.
type Flow struct {
	r     *Rig
	flow  flow.Flow
	Peers [2]int
	Own   [2]int // the gateway's ends of the connections to them
	c     flow.Carriage
	over  bool // as the loop knows it
	end   chan flow.End
}

// Connect makes both connections of a flow.
func (r *Rig) Connect() (*Flow, error) {
	f := &Flow{r: r, end: make(chan flow.End, 1), Peers: [2]int{-1, -1}}
	f.flow.Route = &route.Route{Name: Route}
	for i := range f.Peers {
		var err error
		if f.Peers[i], f.Own[i], err = Connection(r.listen); err != nil {
			if i == 1 {
				unix.Close(f.Peers[0])
				unix.Close(f.Own[0])
			}
			return nil, err
		}
	}
	return f, nil
}

// Carry gives the flow to the path.
func (f *Flow) Carry() error {
	f.r.flows = append(f.r.flows, f)
	var err error
	return errors.Join(f.r.do(func() {
		var fds [2]poll.FD
		for i := range fds {
			var e error
			fds[i], e = f.r.loop.Add(f.Own[i], poll.Stream, ignore{})
			err = errors.Join(err, e)
		}
		if err != nil {
			return
		}
		f.c = f.r.path.Carry(&f.flow, fds[0], fds[1], func(end flow.End, _ string) {
			f.over = true
			f.end <- end
		})
		if f.flow.Path != f.r.name {
			err = errors.New("the kernel does not take the sockets")
		}
	}), err)
}

// Discard closes all sockets of a flow that was not carried.
func (f *Flow) Discard() {
	for i := range f.Peers {
		unix.Close(f.Peers[i])
		unix.Close(f.Own[i])
	}
}

// WantEnd waits for the flow to end, and in the right way.
func (f *Flow) WantEnd(want flow.End) error {
	select {
	case end := <-f.end:
		if end != want {
			return fmt.Errorf("the flow ends as %s, not %s", end, want)
		}
		return nil
	case <-time.After(Patience):
		return errors.New("the flow does not end")
	}
}

// Pass has a peer send bytes, and the other one receive them.
func (f *Flow) Pass(from int, b []byte) error {
	if err := Send(f.Peers[from], b); err != nil {
		return err
	}
	return Expect(f.Peers[1-from], b, false)
}

// Bytes are bytes that look like nothing else.
func Bytes(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

// Expect reads exactly what is wanted, and the end of the stream if that is.
func Expect(fd int, want []byte, end bool) error {
	got, n := make([]byte, len(want)), 0
	if end {
		got = make([]byte, len(want)+1)
	}
	for n < len(got) {
		m, err := Receive(fd, got[n:], 0)
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

// Send writes all of b.
func Send(fd int, b []byte) error {
	for len(b) > 0 {
		var n int
		err := retry(fd, unix.POLLOUT, func() (err error) {
			n, err = unix.SendmsgN(fd, b, nil, nil, unix.MSG_NOSIGNAL)
			return err
		})
		if err != nil {
			return fmt.Errorf("send: %w", err)
		}
		b = b[n:]
	}
	return nil
}

type ignore struct{}

func (ignore) Ready(poll.Events) {}
