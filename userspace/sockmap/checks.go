package sockmap

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
	"sluice/userspace/slot"
)

// The checks of the self-test.

// early has bytes wait in both sockets before the path gets them.
func (r *testRig) early() error {
	f, err := r.connect()
	if err != nil {
		return err
	}
	b := testBytes(3000)
	for _, peer := range f.peers {
		if err := errors.Join(sendBytes(peer, b), acknowledged(peer)); err != nil {
			return err
		}
	}
	return errors.Join(f.carry(), expectBytes(f.peers[0], b, false), expectBytes(f.peers[1], b, false))
}

// halfClose ends one direction after the other.
func (r *testRig) halfClose() error {
	b := testBytes(testCredit)
	for range 4 { // an end overtakes bytes now and then only
		f, err := r.connect()
		if err != nil {
			return err
		}
		if err := f.carry(); err != nil {
			return err
		}
		for i, from := range f.peers {
			if err := errors.Join(sendBytes(from, b), unix.Shutdown(from, unix.SHUT_WR),
				expectBytes(f.peers[1-i], b, true)); err != nil {
				return err
			}
		}
		if err := f.wantEnd(flow.Closed); err != nil {
			return err
		}
	}
	return nil
}

// backPressure sends to a server that does not read: the kernel must not take more
// than the credit and what buffers hold, and none may be lost.
func (r *testRig) backPressure() error {
	f, err := r.connect()
	if err != nil {
		return err
	}
	if err := f.carry(); err != nil {
		return err
	}
	b := testBytes(32 << 10)
	sent, deadline := 0, time.Now().Add(testPatience)
	const quiet = 20 * time.Millisecond
	for last := time.Now(); time.Since(last) < quiet; {
		n, err := unix.SendmsgN(f.peers[0], b[sent%len(b):], nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		switch {
		case err == unix.EAGAIN:
			time.Sleep(time.Millisecond)
		case err != nil:
			return fmt.Errorf("send: %w", err)
		default:
			sent, last = sent+n, time.Now()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the kernel takes bytes without end: %d so far", sent)
		}
	}
	for n := 0; n < sent; {
		want := b[n%len(b):]
		want = want[:min(len(want), sent-n)]
		if err := expectBytes(f.peers[1], want, false); err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", n, sent, err)
		}
		n += len(want)
	}
	return nil
}

// reset breaks a flow from one side.
func (r *testRig) reset(from int) error {
	f, err := r.connect()
	if err != nil {
		return err
	}
	b := testBytes(1000)
	if err := errors.Join(f.carry(), sendBytes(f.peers[from], b), expectBytes(f.peers[1-from], b, false)); err != nil {
		return err
	}
	if err := unix.SetsockoptLinger(f.peers[from], unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return err
	}
	unix.Close(f.peers[from])
	f.peers[from] = -1
	for err = unix.EINTR; err == unix.EINTR; {
		_, _, err = unix.Recvfrom(f.peers[1-from], b, 0)
	}
	if err != unix.ECONNRESET {
		return fmt.Errorf("the other side reads %w, and not a reset", err)
	}
	return f.wantEnd([2]flow.End{flow.DownstreamReset, flow.UpstreamReset}[from])
}

// overlap sends a segment of which the first half has been received before.
func (r *testRig) overlap() error {
	f, err := r.connect()
	if err != nil {
		return err
	}
	before, err := r.e.kernel.Counters()
	if err != nil {
		return err
	}
	b := testBytes(3000)
	if err := errors.Join(f.carry(), sendBytes(f.peers[0], b[:2000]), expectBytes(f.peers[1], b[:2000], false),
		acknowledged(f.peers[0])); err != nil {
		return err
	}
	if f.peers[0], err = rewind(f.peers[0], 1000); err != nil {
		return fmt.Errorf("rewind a connection: %w", err)
	}
	if err := errors.Join(sendBytes(f.peers[0], b[1000:]), expectBytes(f.peers[1], b[2000:], false)); err != nil {
		return err
	}
	after, err := r.e.kernel.Counters()
	if err == nil && after[slot.Overlap] == before[slot.Overlap] {
		err = errors.New("the program has seen no overlap")
	}
	return err
}
