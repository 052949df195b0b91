package local

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
	"sluice/userspace/rehearsal"
	"sluice/userspace/slot"
)

// pieces is a stream cut up at random: some of a few bytes, some larger than a
// message of the kernel's may be.
func pieces(stream []byte, seed uint64) [][]byte {
	r := rand.New(rand.NewPCG(seed, 0))
	var all [][]byte
	for len(stream) > 0 {
		n := min(1+r.IntN(1<<(1+r.IntN(18))), len(stream))
		all = append(all, stream[:n])
		stream = stream[n:]
	}
	return all
}

// sendPieces sends a stream in pieces, and its end.
func sendPieces(fd int, stream []byte, seed uint64) error {
	if err := sendAll(fd, stream, seed); err != nil {
		return err
	}
	return unix.Shutdown(fd, unix.SHUT_WR)
}

// sendAll sends a stream in pieces, with rests that let the receiver catch up.
func sendAll(fd int, stream []byte, seed uint64) error {
	r := rand.New(rand.NewPCG(seed, 1))
	for _, p := range pieces(stream, seed) {
		if err := rehearsal.Send(fd, p); err != nil {
			return err
		}
		if r.IntN(4) == 0 {
			time.Sleep(time.Duration(r.IntN(300)) * time.Microsecond)
		}
	}
	return nil
}

// TestBytes has both sides send at once, in pieces of all sizes and with rests, so that
// messages go by turns through the kernel and through the gateway.
func TestBytes(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			eachRig(t, "local", func(t *testing.T, r *rig) error {
				f, err := r.begin()
				if err != nil {
					return err
				}
				stream := rehearsal.Bytes(16 << 20)
				errs := make(chan error, 4)
				for i := range f.Peers {
					go func() { errs <- sendPieces(f.Peers[i], stream, 2*seed+uint64(i)) }()
					go func() { errs <- rehearsal.Expect(f.Peers[i], stream, true) }()
				}
				for range cap(errs) {
					err = errors.Join(err, <-errs)
				}
				all, _ := r.kernel.Messages()
				t.Logf("messages: %v", all)
				if all[r.past] < 10 || all[slot.MessageBehind]+all[slot.MessageNoRoom] == 0 {
					t.Error("they did not take both ways")
				}
				return errors.Join(err, f.WantEnd(flow.Closed))
			})
		})
	}
}

// TestHold has an operator take a route off the path while flows are under way, and give
// it back: again and again while both sides send, and then once for each.
func TestHold(t *testing.T) {
	eachRig(t, "local", func(t *testing.T, r *rig) error {
		f, err := r.begin()
		if err != nil {
			return err
		}
		if err := r.sendBothHeld(f, rehearsal.Bytes(8<<20)); err != nil {
			return err
		}
		r.engine.Hold("another route", true)
		if err := r.takeTurns(f); err != nil {
			return err
		}
		for range 3 {
			r.engine.Hold(rehearsal.Route, true)
			past := r.count(slot.MessageRedirected) + r.count(slot.MessageDelivered)
			for i := range f.Peers {
				if err := f.Pass(i, rehearsal.Bytes(1000)); err != nil {
					return err
				}
			}
			if now := r.count(slot.MessageRedirected) + r.count(slot.MessageDelivered); now != past {
				t.Errorf("%d messages went past TCP", now-past)
			}
			r.engine.Hold(rehearsal.Route, false)
			if err := r.takeTurns(f); err != nil {
				return err
			}
		}
		for i := range f.Peers {
			err = errors.Join(err, unix.Shutdown(f.Peers[i], unix.SHUT_WR), rehearsal.Expect(f.Peers[1-i], nil, true))
		}
		return errors.Join(err, f.WantEnd(flow.Closed))
	})
}

// sendBothHeld sends a stream both ways while the route is held and let go by turns.
func (r *rig) sendBothHeld(f *rehearsal.Flow, stream []byte) error {
	errs := make(chan error, 4)
	for i := range f.Peers {
		go func() { errs <- sendAll(f.Peers[i], stream, uint64(i)) }()
		go func() { errs <- rehearsal.Expect(f.Peers[i], stream, false) }()
	}
	var err error
	on := false
	for range cap(errs) {
		for waiting := true; waiting; {
			select {
			case e := <-errs:
				err, waiting = errors.Join(err, e), false
			case <-time.After(time.Millisecond):
				on = !on
				r.engine.Hold(rehearsal.Route, on)
			}
		}
	}
	r.engine.Hold(rehearsal.Route, false)
	return err
}

// TestStall has a sender meet a reader that does not read, ten times over: what the
// kernel takes is bounded by the buffers, and all of it arrives.
func TestStall(t *testing.T) {
	eachRig(t, "local", func(t *testing.T, r *rig) error {
		f, err := r.begin()
		if err != nil {
			return err
		}
		b := rehearsal.Bytes(48 << 10)
		for range 10 {
			sent := 0
			for last := time.Now(); time.Since(last) < 50*time.Millisecond; {
				n, err := unix.SendmsgN(f.Peers[0], b[sent%len(b):], nil, nil, unix.MSG_NOSIGNAL)
				switch {
				case err == unix.EAGAIN:
					time.Sleep(time.Millisecond)
				case err != nil:
					return err
				default:
					sent, last = sent+n, time.Now()
				}
				if sent > 64<<20 {
					return errors.New("the kernel takes bytes without end")
				}
			}
			t.Logf("%d bytes are on their way", sent)
			for n := 0; n < sent; {
				want := b[n%len(b):]
				want = want[:min(len(want), sent-n)]
				if err := rehearsal.Expect(f.Peers[1], want, false); err != nil {
					return fmt.Errorf("after %d of %d bytes: %w", n, sent, err)
				}
				n += len(want)
			}
			if err := r.takeTurns(f); err != nil {
				return err
			}
		}
		return nil
	})
}

// TestEnds ends a flow whose senders are redirected, from each side.
func TestEnds(t *testing.T) {
	b := rehearsal.Bytes(40 << 10)
	for i, side := range []string{"client", "server"} {
		t.Run("half-close by the "+side, func(t *testing.T) {
			eachRig(t, "local", func(t *testing.T, r *rig) error {
				f, err := r.begin()
				if err != nil {
					return err
				}
				// In the same breath: an end must not overtake what was redirected.
				return errors.Join(rehearsal.Send(f.Peers[i], b), unix.Shutdown(f.Peers[i], unix.SHUT_WR),
					rehearsal.Expect(f.Peers[1-i], b, true),
					rehearsal.Send(f.Peers[1-i], b), rehearsal.Send(f.Peers[1-i], b), unix.Shutdown(f.Peers[1-i], unix.SHUT_WR),
					rehearsal.Expect(f.Peers[i], append(b[:len(b):len(b)], b...), true),
					f.WantEnd(flow.Closed))
			})
		})
		t.Run("reset by the "+side, func(t *testing.T) {
			eachRig(t, "local", func(t *testing.T, r *rig) error {
				f, err := r.begin()
				if err != nil {
					return err
				}
				if err := errors.Join(rehearsal.Send(f.Peers[i], b),
					unix.SetsockoptLinger(f.Peers[i], unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})); err != nil {
					return err
				}
				unix.Close(f.Peers[i])
				f.Peers[i] = -1
				if err := rehearsal.Expect(f.Peers[1-i], b, false); err != nil {
					return err
				}
				if _, err := rehearsal.Receive(f.Peers[1-i], b, 0); err != unix.ECONNRESET {
					return fmt.Errorf("the other side reads %w, not a reset", err)
				}
				return f.WantEnd([2]flow.End{flow.DownstreamReset, flow.UpstreamReset}[i])
			})
		})
	}
}
