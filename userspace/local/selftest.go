package local

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
	"sluice/userspace/poll"
	"sluice/userspace/rehearsal"
	"sluice/userspace/relay"
	"sluice/userspace/slot"
)

// ErrMisleads is a self-test's that finds the kernel to tell processes whose sockets
// are enrolled, when they ask by ioctl(FIONREAD), that nothing waits to be read: 6.18.44
// is one, 6.1 and 6.12.117 are not. Programs that ask, such as nginx or those on Java or
// .NET, may not read on.
var ErrMisleads = errors.New("this kernel answers ioctl(FIONREAD) with 0 on a socket that is enrolled, whatever waits there")

// SelfTest sends bytes over the path between sockets on loopback, and fails unless
// each of them comes out where and when it should. The last of its checks is the one
// that ErrMisleads is of.
func (e *Engine) SelfTest() error {
	checks := append(slices.Clone(rehearsal.Checks),
		rehearsal.Check{Name: "redirection", Run: e.redirects},
		rehearsal.Check{Name: "bytes waiting", Run: tells})
	var splice *relay.Splice
	err := rehearsal.Run(PathName, func(loop *poll.Loop) (rehearsal.Path, error) {
		var err error
		if splice, err = relay.New(loop, 0); err != nil {
			return nil, err
		}
		return closing{e.Path(loop, splice, noNext{}), splice}, nil
	}, checks)
	return err
}

// redirects has both sides take turns until the program redirects both ways, or delivers
// if it may.
func (e *Engine) redirects(r *rehearsal.Rig) error {
	f, err := r.Connect()
	if err != nil {
		return err
	}
	before, err := e.kernel.Messages()
	if err != nil {
		return err
	}
	if err := f.Carry(); err != nil {
		return err
	}
	wanted := slot.MessageRedirected
	if e.credit.Load() > 0 {
		wanted = slot.MessageDelivered
	}
	b := rehearsal.Bytes(1000)
	for deadline := time.Now().Add(rehearsal.Patience); ; {
		for i := range f.Peers {
			if err := f.Pass(i, b); err != nil {
				return err
			}
		}
		after, err := e.kernel.Messages()
		if err != nil {
			return err
		}
		if after[wanted] >= before[wanted]+4 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("none of the messages is %s: %v", wanted, after)
		}
	}
}

// tells looks whether a peer is told of bytes that wait for it.
func tells(r *rehearsal.Rig) error {
	f, err := r.Connect()
	if err != nil {
		return err
	}
	b := rehearsal.Bytes(100)
	if err := errors.Join(f.Carry(), rehearsal.Send(f.Peers[0], b)); err != nil {
		return err
	}
	if _, err := rehearsal.Receive(f.Peers[1], make([]byte, len(b)), unix.MSG_PEEK); err != nil {
		return fmt.Errorf("wait for bytes: %w", err)
	}
	n, err := unix.IoctlGetInt(f.Peers[1], unix.SIOCINQ)
	if err != nil {
		return fmt.Errorf("ask for the bytes waiting: %w", err)
	}
	if n == 0 {
		return ErrMisleads
	}
	return rehearsal.Expect(f.Peers[1], b, false)
}

// closing is a path with the splice path under it.
type closing struct {
	*Path
	splice *relay.Splice
}

func (c closing) Close() { c.splice.Close() }

// noNext leaves what it gets alone: the self-test wants the path itself.
type noNext struct{}

func (noNext) Name() string           { return "none" }
func (noNext) Admit(*flow.Flow) error { return nil }

func (noNext) Carry(*flow.Flow, poll.FD, poll.FD, func(flow.End, string)) flow.Carriage {
	return nothing{}
}

type nothing struct{}

func (nothing) Active() time.Duration { return 0 }
func (nothing) Abort(flow.End)        {}
func (nothing) Tally()                {}
