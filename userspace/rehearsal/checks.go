package rehearsal

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
)

// early has bytes wait in both sockets before the path gets them.
func (r *Rig) early() error {
	f, err := r.Connect()
	if err != nil {
		return err
	}
	b := Bytes(3000)
	for _, peer := range f.Peers {
		if err := errors.Join(Send(peer, b), Acknowledged(peer)); err != nil {
			return err
		}
	}
	return errors.Join(f.Carry(), Expect(f.Peers[0], b, false), Expect(f.Peers[1], b, false))
}

// halfClose ends one direction after the other.
func (r *Rig) halfClose() error {
	b := Bytes(Credit)
	for range 4 { // an end overtakes bytes now and then only
		f, err := r.Connect()
		if err != nil {
			return err
		}
		if err := f.Carry(); err != nil {
			return err
		}
		for i, from := range f.Peers {
			if err := errors.Join(Send(from, b), unix.Shutdown(from, unix.SHUT_WR),
				Expect(f.Peers[1-i], b, true)); err != nil {
				return err
			}
		}
		if err := f.WantEnd(flow.Closed); err != nil {
			return err
		}
	}
	return nil
}

// backPressure sends to a server that does not read: the kernel must not take more
// than the credit and what buffers hold, and none may be lost.
func (r *Rig) backPressure() error {
	f, err := r.Connect()
	if err != nil {
		return err
	}
	if err := f.Carry(); err != nil {
		return err
	}
	b := Bytes(32 << 10)
	sent, deadline := 0, time.Now().Add(Patience)
	const quiet = 20 * time.Millisecond
	for last := time.Now(); time.Since(last) < quiet; {
		n, err := unix.SendmsgN(f.Peers[0], b[sent%len(b):], nil, nil, unix.MSG_NOSIGNAL)
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
		if err := Expect(f.Peers[1], want, false); err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", n, sent, err)
		}
		n += len(want)
	}
	return nil
}

// reset breaks a flow from one side.
func (r *Rig) reset(from int) error {
	f, err := r.Connect()
	if err != nil {
		return err
	}
	b := Bytes(1000)
	if err := errors.Join(f.Carry(), f.Pass(from, b)); err != nil {
		return err
	}
	if err := unix.SetsockoptLinger(f.Peers[from], unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return err
	}
	unix.Close(f.Peers[from])
	f.Peers[from] = -1
	if _, err = Receive(f.Peers[1-from], b, 0); err != unix.ECONNRESET {
		return fmt.Errorf("the other side reads %w, and not a reset", err)
	}
	return f.WantEnd([2]flow.End{flow.DownstreamReset, flow.UpstreamReset}[from])
}
