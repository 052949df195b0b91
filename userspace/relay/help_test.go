package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
	"sluice/userspace/poll"
)

// patience is how long a test waits for what must happen.
const patience = 60 * time.Second

// rig is a loop with a splice path on it, and a listener to make sockets with.
// At the end of its test it checks that nothing is left of any flow.
type rig struct {
	t      testing.TB
	loop   *poll.Loop
	path   *Splice
	listen int
	buffer int // SO_RCVBUF and SO_SNDBUF of all sockets, 0: the system's
	flows  []*testFlow
}

func newRig(t testing.TB, maxPipes, buffer int) *rig {
	t.Helper()
	before := descriptors(t)
	loop, err := poll.New()
	if err != nil {
		t.Fatal(err)
	}
	path, err := New(loop, maxPipes)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, loop: loop, path: path, listen: listener(t, buffer), buffer: buffer}
	ended := make(chan error, 1)
	go func() { ended <- loop.Run() }()
	t.Cleanup(func() {
		r.close(ended)
		eventually(t, "all descriptors to be closed", func() bool { return descriptors(t) <= before })
	})
	return r
}

func (r *rig) close(ended <-chan error) {
	for _, f := range r.flows {
		f.client.Close()
		f.server.Close()
		f.wait()
	}
	r.do(func() {
		ps := &r.path.pipes
		if len(ps.idle) != ps.open || ps.open > ps.max {
			r.t.Errorf("%d pipes, %d of them idle, at most %d allowed", ps.open, len(ps.idle), ps.max)
		}
		r.loop.Stop()
	})
	if err := <-ended; err != nil {
		r.t.Errorf("Run: %v", err)
	}
	r.path.Close()
	unix.Close(r.listen)
	for _, f := range r.flows {
		if n := f.overs.Load(); n != 1 {
			r.t.Errorf("over was called %d times", n)
		}
	}
}

// spliceOnly leaves the path a buffer so short that all counts as much.
func (r *rig) spliceOnly() *rig {
	r.do(func() { r.path.buf = r.path.buf[:1] })
	return r
}

// do calls f on the loop.
func (r *rig) do(f func()) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.loop.Do(ctx, f); err != nil {
		r.t.Fatalf("the loop does not answer: %v", err)
	}
}

// hold keeps the loop from seeing anything until release is called.
func (r *rig) hold() (release func()) {
	held, goOn := make(chan struct{}), make(chan struct{})
	r.loop.Post(func() { close(held); <-goOn })
	<-held
	return func() { close(goOn) }
}

// testFlow is a flow with the two peers that it connects.
type testFlow struct {
	r              *rig
	flow           flow.Flow
	client, server *net.TCPConn
	c              *carriage // of the loop
	overs          atomic.Int32
	result         chan result
	last           *result
}

type result struct {
	end    flow.End
	detail string
}

// carry makes two connections and has the path carry bytes between them.
func (r *rig) carry() *testFlow {
	r.t.Helper()
	f := &testFlow{r: r, result: make(chan result, 8)}
	var down, up int
	f.client, down = r.connect()
	f.server, up = r.connect()
	r.flows = append(r.flows, f)
	r.do(func() {
		var fds [2]poll.FD
		for i, fd := range [2]int{down, up} {
			var err error
			if fds[i], err = r.loop.Add(fd, poll.Stream, nobody{}); err != nil {
				r.t.Error(err)
			}
		}
		f.c = r.path.Carry(&f.flow, fds[0], fds[1], func(end flow.End, detail string) {
			f.overs.Add(1)
			f.result <- result{end, detail}
		}).(*carriage)
	})
	return f
}

// nobody is the handler before the path's.
type nobody struct{}

func (nobody) Ready(poll.Events) {}

// connect makes a connection: the peer's side, and the gateway's.
func (r *rig) connect() (*net.TCPConn, int) {
	r.t.Helper()
	sa, err := unix.Getsockname(r.listen)
	if err != nil {
		r.t.Fatal(err)
	}
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { setBuffers(r.t, int(fd), r.buffer) })
	}}
	c, err := dialer.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port))
	if err != nil {
		r.t.Fatal(err)
	}
	fd, _, err := unix.Accept4(r.listen, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		r.t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(2 * patience)); err != nil {
		r.t.Fatal(err)
	}
	return c.(*net.TCPConn), fd
}

// listener makes a blocking listening socket; accepted ones have its buffers.
func listener(t testing.TB, buffer int) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		t.Fatal(err)
	}
	setBuffers(t, fd, buffer)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 128); err != nil {
		t.Fatal(err)
	}
	return fd
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
	f.wantBytes(sent, received)
}

func (f *testFlow) wantBytes(sent, received int) {
	f.r.t.Helper()
	if s, r := f.flow.Sent.Load(), f.flow.Received.Load(); s != uint64(sent) || r != uint64(received) {
		f.r.t.Errorf("counted %d bytes sent and %d received, want %d and %d", s, r, sent, received)
	}
}

// stalled tells whether way i holds bytes that its destination does not take.
func (f *testFlow) stalled(i int) (held, spilled bool) {
	f.r.do(func() {
		w := &f.c.ways[i]
		stuck := !f.c.legs[1-i].writable
		held, spilled = stuck && w.held > 0, stuck && w.spill != nil
	})
	return held, spilled
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
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "acknowledgements", func() bool {
		var left int
		var err error
		if e := raw.Control(func(fd uintptr) { left, err = unix.IoctlGetInt(int(fd), unix.TIOCOUTQ) }); e != nil {
			err = e
		}
		if err != nil {
			t.Fatal(err)
		}
		return left == 0
	})
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

// TestMain makes Go open its netpoller's descriptors before any are counted.
func TestMain(m *testing.M) {
	if l, err := net.Listen("tcp4", "127.0.0.1:0"); err == nil {
		l.Close()
	}
	os.Exit(m.Run())
}
