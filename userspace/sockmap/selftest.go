package sockmap

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"sluice/userspace/flow"
	"sluice/userspace/poll"
	"sluice/userspace/rehearsal"
	"sluice/userspace/slot"
)

// SelfTest sends bytes over the path between sockets on loopback, and fails unless
// each of them comes out where and when it should. It takes well under a second when
// all is well. The loops of the workers must not run on ring yet, which is lent to it.
func (e *Engine) SelfTest(ring int) error {
	if err := e.SetPolicy(rehearsal.Route, slot.Policy{Rule: slot.On, Credit: rehearsal.Credit}); err != nil {
		return fmt.Errorf("prepare the self-test: %w", err)
	}
	checks := append(slices.Clone(rehearsal.Checks), rehearsal.Check{Name: "overlapping retransmission", Run: e.overlap})
	err := rehearsal.Run("sockmap", func(loop *poll.Loop) (rehearsal.Path, error) {
		p, err := e.Path(loop, ring, noFallback{})
		if err != nil {
			return nil, err // and not a path that is nil
		}
		return p, nil
	}, checks)
	return errors.Join(err, e.ClearPolicy(rehearsal.Route))
}

// overlap sends a segment of which the first half has been received before.
func (e *Engine) overlap(r *rehearsal.Rig) error {
	f, err := r.Connect()
	if err != nil {
		return err
	}
	before, err := e.kernel.Counters()
	if err != nil {
		return err
	}
	b := rehearsal.Bytes(3000)
	if err := errors.Join(f.Carry(), rehearsal.Send(f.Peers[0], b[:2000]), rehearsal.Expect(f.Peers[1], b[:2000], false),
		rehearsal.Acknowledged(f.Peers[0])); err != nil {
		return err
	}
	if f.Peers[0], err = rewind(f.Peers[0], 1000); err != nil {
		return fmt.Errorf("rewind a connection: %w", err)
	}
	if err := errors.Join(rehearsal.Send(f.Peers[0], b[1000:]), rehearsal.Expect(f.Peers[1], b[2000:], false)); err != nil {
		return err
	}
	after, err := e.kernel.Counters()
	if err == nil && after[slot.Overlap] == before[slot.Overlap] {
		err = errors.New("the program has seen no overlap")
	}
	return err
}

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
