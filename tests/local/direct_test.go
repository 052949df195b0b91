package local

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
	"sluice/userspace/rehearsal"
	"sluice/userspace/slot"
)

// What there is to know of messages that are put into a receiver's own queue.

// onDirect runs a test on a flow whose messages are put there.
func onDirect(t *testing.T, test func(*rig, *rehearsal.Flow) error) {
	t.Helper()
	onRig(t, "local", slot.MessageDelivered, func(r *rig) error {
		f, err := r.begin()
		if err != nil {
			return err
		}
		return test(r, f)
	})
}

// delivered is how many bytes of the clients' were put into the servers' queues. There is
// one flow.
func (r *rig) delivered() (n uint64) {
	for i := 0; i < len(r.kernel.Ways()); i += 2 {
		n += r.kernel.Ways()[i].Delivered.Load()
	}
	return n
}

// TestCredit: a receiver that does not read has at most a credit's worth in its queue.
// What was sent beyond that is read after it.
func TestCredit(t *testing.T) {
	onDirect(t, func(r *rig, f *rehearsal.Flow) error {
		const piece, pieces = 4000, 2 * credit / 4000
		b := rehearsal.Bytes(piece * pieces)
		for range 3 {
			before := r.delivered()
			for i := range pieces {
				if err := rehearsal.Send(f.Peers[0], b[i*piece:][:piece]); err != nil {
					return err
				}
			}
			if n := r.delivered() - before; n > credit || n < credit-piece {
				t.Errorf("%d bytes wait, with a credit of %d", n, credit)
			}
			if err := errors.Join(rehearsal.Expect(f.Peers[1], b, false), r.takeTurns(f)); err != nil {
				return err
			}
		}
		return nil
	})
}

// TestKernelBound looks whether the kernel bounds the queue of a receiver that does not
// read, were there no credit. None did that this was run on: 6.1, 6.12 and 6.18.
func TestKernelBound(t *testing.T) {
	onRig(t, "local", slot.MessageDelivered, func(r *rig) error {
		r.engine.Deliver(1 << 30)
		f, err := r.begin()
		if err != nil {
			return err
		}
		const enough = 32 << 20
		b := rehearsal.Bytes(32 << 10)
		before := r.delivered()
		for range enough / len(b) {
			if err := rehearsal.Send(f.Peers[0], b); err != nil {
				return err
			}
			if r.count(slot.MessageBehind)+r.count(slot.MessageNoRoom)+r.count(slot.MessageRefused) > 100 {
				break
			}
		}
		n := r.delivered() - before
		t.Logf("%d bytes wait", n)
		if n < enough {
			t.Errorf("the kernel has a bound: %d", n)
		}
		for range n / uint64(len(b)) {
			if err := rehearsal.Expect(f.Peers[1], b, false); err != nil {
				return err
			}
		}
		return nil
	})
}

// TestTrickle: the queue of a receiver that always leaves something there, is never seen
// empty, and messages take TCP when a credit's worth has gone by; all of them are in order.
func TestTrickle(t *testing.T) {
	onDirect(t, func(r *rig, f *rehearsal.Flow) error {
		const piece, pieces = 1000, 10 * credit / 1000
		b := rehearsal.Bytes(piece * pieces)
		for i := range pieces {
			if err := rehearsal.Send(f.Peers[0], b[i*piece:][:piece]); err != nil {
				return err
			}
			if i == 0 {
				continue // one behind from here on
			}
			if err := rehearsal.Expect(f.Peers[1], b[(i-1)*piece:][:piece], false); err != nil {
				return fmt.Errorf("piece %d: %w", i, err)
			}
		}
		return rehearsal.Expect(f.Peers[1], b[(pieces-1)*piece:], false)
	})
}

// TestEndWaits: a receiver is not told of the end before it has read what came past TCP.
// Should the gateway be gone by then, it is not to take what it has for all there was.
func TestEndWaits(t *testing.T) {
	onDirect(t, func(r *rig, f *rehearsal.Flow) error {
		b := rehearsal.Bytes(1000)
		before := r.count(slot.MessageDelivered)
		if err := errors.Join(rehearsal.Send(f.Peers[0], b), unix.Shutdown(f.Peers[0], unix.SHUT_WR)); err != nil {
			return err
		}
		if r.count(slot.MessageDelivered) != before+1 {
			t.Error("the message took TCP")
		}
		time.Sleep(20 * time.Millisecond) // in which an end gets through that does not wait
		const established = 1
		if info, err := unix.GetsockoptTCPInfo(f.Peers[1], unix.IPPROTO_TCP, unix.TCP_INFO); err != nil || info.State != established {
			t.Errorf("the receiver's connection is in state %d, %v", info.State, err)
		}
		return errors.Join(
			rehearsal.Expect(f.Peers[1], b, true),
			unix.Shutdown(f.Peers[1], unix.SHUT_WR),
			rehearsal.Expect(f.Peers[0], nil, true),
			f.WantEnd(flow.Closed))
	})
}

// TestReceiverGone: what a receiver leaves unread when it closes holds nothing up. Its
// peer is told of an end, where TCP would tell it of a reset.
func TestReceiverGone(t *testing.T) {
	onDirect(t, func(r *rig, f *rehearsal.Flow) error {
		b := rehearsal.Bytes(1000)
		if err := errors.Join(rehearsal.Send(f.Peers[0], b), unix.Shutdown(f.Peers[0], unix.SHUT_WR)); err != nil {
			return err
		}
		unix.Close(f.Peers[1])
		f.Peers[1] = -1
		return errors.Join(rehearsal.Expect(f.Peers[0], nil, true), f.WantEnd(flow.Closed))
	})
}

// TestUnsuited has the ways to receive by which a process would notice, which README.md
// warns of.
func TestUnsuited(t *testing.T) {
	b := rehearsal.Bytes(1000)
	waiting := func(t *testing.T, test func(f *rehearsal.Flow) error) {
		onDirect(t, func(r *rig, f *rehearsal.Flow) error {
			if err := errors.Join(rehearsal.Send(f.Peers[0], b), readable(f.Peers[1]), test(f)); err != nil {
				return err
			}
			return rehearsal.Expect(f.Peers[1], b, false) // by recv(2) they are there
		})
	}
	t.Run("splice", func(t *testing.T) {
		waiting(t, func(f *rehearsal.Flow) error {
			var pipe [2]int
			if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
				return err
			}
			defer unix.Close(pipe[0])
			defer unix.Close(pipe[1])
			if n, err := unix.Splice(f.Peers[1], nil, pipe[1], nil, len(b), unix.SPLICE_F_NONBLOCK); err != unix.EAGAIN {
				t.Errorf("splice finds %d bytes, %v: this kernel does better than README.md says", n, err)
			}
			return nil
		})
	})
	t.Run("FIONREAD", func(t *testing.T) {
		waiting(t, func(f *rehearsal.Flow) error {
			n, err := unix.IoctlGetInt(f.Peers[1], unix.SIOCINQ)
			t.Logf("%d bytes wait", n) // 0, but for the newest kernels
			return err
		})
	})
	t.Run("MSG_PEEK", func(t *testing.T) {
		waiting(t, func(f *rehearsal.Flow) error {
			if n, _, err := unix.Recvfrom(f.Peers[1], make([]byte, len(b)), unix.MSG_PEEK); n != len(b) || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
			return nil
		})
	})
}
