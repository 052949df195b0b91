package relay

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLittleIsCopiedAndMuchIsSpliced follows a direction from one to the other
// and back.
func TestLittleIsCopiedAndMuchIsSpliced(t *testing.T) {
	r := newRig(t, 0, 0)
	f := r.carry()
	bulk := func() (yes bool) {
		r.do(func() { yes = f.c.ways[0].bulk })
		return yes
	}
	src, dst := newSource(1), newSource(1)
	pass := func(n int) {
		t.Helper()
		parallel(t,
			func() error { return transmit(f.client, src, n, n) },
			func() error { return expect(f.server, dst, n) },
		)
	}
	pass(100)
	if bulk() {
		t.Error("100 bytes count as much")
	}
	release := r.hold() // so that all is there when it looks
	if err := transmit(f.client, src, 2*small, small); err != nil {
		t.Error(err)
	}
	acknowledged(t, f.client)
	release()
	if err := expect(f.server, dst, 2*small); err != nil {
		t.Error(err)
	}
	pass(100)
	pass(100)
	if bulk() {
		t.Error("100 bytes count as much after many")
	}
	pass(1 << 20)
}

// TestBufferIsLeftToOthers stalls two flows that copy, one after the other: what
// the first could not send must not be overwritten by the second.
func TestBufferIsLeftToOthers(t *testing.T) {
	const n = 1 << 20
	r := newRig(t, 0, 8<<10)
	flows := []*testFlow{r.carry(), r.carry(), r.carry()}
	sent := make(chan error, len(flows))
	for i, f := range flows {
		go func() { sent <- transmit(f.client, newSource(byte(i)), n, 3000) }()
		eventually(t, "a stall", func() bool {
			held, spilled := f.stalled(0)
			return held || spilled
		})
	}
	r.do(func() {
		for _, f := range flows {
			if w := &f.c.ways[0]; w.shared {
				t.Error("a stalled flow keeps the buffer that all share")
			}
		}
	})
	for i, f := range flows {
		if err := expect(f.server, newSource(byte(i)), n); err != nil {
			t.Error(err)
		}
	}
	for range flows {
		if err := <-sent; err != nil {
			t.Error(err)
		}
	}
}

func TestRawCallsReportErrors(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	buf := make([]byte, 8)
	if n, err := receive(fds[0], buf); n != 0 || err != unix.EAGAIN {
		t.Errorf("receive returns %d, %v; want 0, %v", n, err, unix.EAGAIN)
	}
	if n, err := send(fds[1], buf[:5]); n != 5 || err != nil {
		t.Errorf("send returns %d, %v; want 5", n, err)
	}
	unix.Close(fds[1])
	if n, err := receive(fds[0], buf); n != 5 || err != nil {
		t.Errorf("receive returns %d, %v; want 5", n, err)
	}
	if n, err := receive(fds[0], buf); n != 0 || err != nil {
		t.Errorf("receive returns %d, %v; want 0 at the end", n, err)
	}
	if n, err := send(fds[0], buf); n != 0 || err != unix.EPIPE {
		t.Errorf("send returns %d, %v; want 0, %v", n, err, unix.EPIPE)
	}
}

// TestUrgent sends bytes around an urgent one, at which a read stops early.
func TestUrgent(t *testing.T) {
	r := newRig(t, 0, 0)
	f := r.carry()
	for range 20 {
		release := r.hold()
		if err := transmit(f.client, newSource(1), 100, 100); err != nil {
			t.Fatal(err)
		}
		urgently(t, f.client)
		if err := transmit(f.client, newSource(2), 100, 100); err != nil {
			t.Fatal(err)
		}
		acknowledged(t, f.client)
		release()
		// Whether an urgent byte is a part of the stream is the receiver's choice;
		// splice(2) and recv(2) leave it out.
		for _, seed := range []byte{1, 2} {
			if err := expect(f.server, newSource(seed), 100); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// urgently sends a byte out of band.
func urgently(t *testing.T, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var sent error
	if err := raw.Write(func(fd uintptr) bool {
		sent = unix.Sendto(int(fd), []byte{'!'}, unix.MSG_OOB, nil)
		return sent != unix.EAGAIN
	}); err != nil || sent != nil {
		t.Fatal(err, sent)
	}
}

// TestMoreFragmentsThanSlots has a pipe take fewer bytes than there are and than
// count as much, for it is out of slots.
func TestMoreFragmentsThanSlots(t *testing.T) {
	r := newRig(t, 0, 0)
	f := r.carry()
	src, dst := newSource(1), newSource(1)
	for range 20 {
		release := r.hold()
		const much, little = 2 * small, 3000
		if err := transmit(f.client, src, much, small); err != nil {
			t.Fatal(err)
		}
		if err := transmit(f.client, src, little, 1); err != nil { // each a segment
			t.Fatal(err)
		}
		release()
		if err := expect(f.server, dst, much+little); err != nil {
			t.Fatal(err)
		}
	}
}
