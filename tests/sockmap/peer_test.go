package sockmap

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// wait waits for the end of the flow.
func (f *testFlow) wait() result {
	f.r.t.Helper()
	if f.last == nil {
		select {
		case res := <-f.result:
			f.last = &res
		case <-time.After(patience):
			f.r.t.Error("the flow does not end")
			f.last = &result{}
		}
	}
	return *f.last
}

// wantEnd waits for the end of the flow and checks it and the counters.
func (f *testFlow) wantEnd(want result, sent, received int) {
	f.r.t.Helper()
	if got := f.wait(); got != want {
		f.r.t.Errorf("the flow ends as %v %q, want %v %q", got.end, got.detail, want.end, want.detail)
	}
	if s, r := f.flow.Sent.Load(), f.flow.Received.Load(); s != uint64(sent) || r != uint64(received) {
		f.r.t.Errorf("counted %d bytes sent and %d received, want %d and %d", s, r, sent, received)
	}
}

// source is an endless stream of bytes that its seed determines.
type source struct{ *rand.ChaCha8 }

func newSource(seed byte) source { return source{rand.NewChaCha8([32]byte{seed})} }

// transmit writes the next n bytes of src in pieces of 1 to maxPiece bytes.
func transmit(c net.Conn, src source, n, maxPiece int) error {
	buf := make([]byte, maxPiece)
	sizes := rand.New(rand.NewPCG(uint64(n), uint64(maxPiece)))
	for done := 0; done < n; {
		piece := buf[:min(1+sizes.IntN(maxPiece), n-done)]
		src.Read(piece)
		if m, err := c.Write(piece); err != nil {
			return fmt.Errorf("write after %d of %d bytes: %w", done+m, n, err)
		}
		done += len(piece)
	}
	return nil
}

// expect reads n bytes and compares them with the next ones of src.
func expect(c net.Conn, src source, n int) error {
	got, want := make([]byte, 64<<10), make([]byte, 64<<10)
	for done := 0; done < n; {
		m, err := c.Read(got[:min(len(got), n-done)])
		src.Read(want[:m])
		if !bytes.Equal(got[:m], want[:m]) {
			return fmt.Errorf("wrong bytes within %d of %d", done, done+m)
		}
		if done += m; err != nil {
			return fmt.Errorf("read after %d of %d bytes: %w", done, n, err)
		}
	}
	return nil
}

// expectEnd is expect, and then the end of the stream.
func expectEnd(c net.Conn, src source, n int) error {
	if err := expect(c, src, n); err != nil {
		return err
	}
	if m, err := c.Read(make([]byte, 1)); m != 0 || err != io.EOF {
		return fmt.Errorf("after %d bytes: read returns %d, %v; want the end", n, m, err)
	}
	return nil
}

// wantReset checks that the next that c sees is a reset.
func wantReset(t testing.TB, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("read returns %d, %v; want a reset", n, err)
	}
}

// acknowledged waits until all that c has sent is in its peer's kernel.
func acknowledged(t testing.TB, c *net.TCPConn) {
	t.Helper()
	eventually(t, "acknowledgements", func() bool { return unsent(t, c) == 0 })
}

// unsent is how many of the bytes written to c are not acknowledged.
func unsent(t testing.TB, c *net.TCPConn) int {
	t.Helper()
	left := 0
	control(t, c, func(fd int) error {
		var err error
		left, err = unix.IoctlGetInt(fd, unix.SIOCOUTQ)
		return err
	})
	return left
}

// control calls f with the descriptor of c.
func control(t testing.TB, c *net.TCPConn, f func(fd int) error) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if e := raw.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil {
		err = e
	}
	if err != nil {
		t.Fatal(err)
	}
}

// reset closes c so that its peer sees a reset.
func reset(t testing.TB, c *net.TCPConn) {
	t.Helper()
	if err := errors.Join(c.SetLinger(0), c.Close()); err != nil {
		t.Error(err)
	}
}

// parallel calls all functions at once and reports their errors.
func parallel(t testing.TB, fs ...func() error) {
	t.Helper()
	errs := make(chan error, len(fs))
	for _, f := range fs {
		go func() { errs <- f() }()
	}
	for range fs {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// eventually waits until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for start := time.Now(); !ok(); time.Sleep(time.Millisecond) {
		if time.Since(start) > patience {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// descriptors is how many this process has open.
func descriptors(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func setBuffers(t testing.TB, fd, bytes int) {
	if bytes == 0 {
		return
	}
	for _, name := range []int{unix.SO_RCVBUF, unix.SO_SNDBUF} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, name, bytes); err != nil {
			t.Error(err)
		}
	}
}

func cookie(t testing.TB, fd int) uint64 {
	t.Helper()
	n, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
