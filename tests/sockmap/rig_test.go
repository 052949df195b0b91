// Package sockmap tests the sockmap path with the real kernel: sockets on
// loopback and in network namespaces, and each fact about the kernel that the
// path is built on. The tests need root.
package sockmap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/loader"
	"sluice/userspace/flow"
	"sluice/userspace/poll"
	"sluice/userspace/relay"
	"sluice/userspace/slot"
	"sluice/userspace/sockmap"
)

// commonFlows is how many flows there is room for, unless a test says otherwise.
const commonFlows = 128

// patience is how long a test waits for what must happen.
const patience = 60 * time.Second

// options say how a rig differs from the default.
type options struct {
	flows  int // the most at one time: commonFlows
	config sockmap.Config
	buffer int                           // SO_RCVBUF and SO_SNDBUF of all peers' sockets, 0: the system's
	dial   func() (*net.TCPConn, error)  // how peers connect; nil: over loopback
	accept func() (int, error)           // and how their connections are accepted
	kernel func(*loader.Datapath) kernel // what stands between the path and the kernel
}

type kernel = sockmap.Kernel

// rig is a loop with the path on it. At the end of its test it checks that
// nothing is left of any flow.
type rig struct {
	t      testing.TB
	opts   options
	data   *loader.Datapath
	began  [slot.Reasons]uint64
	engine *sockmap.Engine
	loop   *poll.Loop
	path   *sockmap.Path
	splice *relay.Splice
	listen int
	pairs  sync.Mutex // keeps apart those who connect
	thread atomic.Int32
	flows  []*testFlow
}

func newRig(t testing.TB, opts options) *rig {
	t.Helper()
	if opts.flows == 0 {
		opts.flows = commonFlows
	}
	r := &rig{t: t, opts: opts}
	r.data = load(t, opts.flows)
	var err error
	if r.began, err = r.data.Counters(); err != nil {
		t.Fatal(err)
	}
	before := descriptors(t)
	var k kernel = r.data
	if opts.kernel != nil {
		k = opts.kernel(r.data)
	}
	if r.engine, err = sockmap.New(k, opts.config); err != nil {
		t.Fatal(err)
	}
	if r.loop, err = poll.New(); err != nil {
		t.Fatal(err)
	}
	if r.splice, err = relay.New(r.loop, 0); err != nil {
		t.Fatal(err)
	}
	if r.path, err = r.engine.Path(r.loop, 0, r.splice); err != nil {
		t.Fatal(err)
	}
	r.listen = listener(t)
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		r.thread.Store(int32(unix.Gettid()))
		ended <- r.loop.Run()
	}()
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
	if idle := r.engine.Idle(); idle != r.opts.flows {
		r.t.Errorf("%d of %d pairs of ways are free", idle, r.opts.flows)
	}
	r.wantEmpty()
	r.do(func() { r.loop.Stop() })
	if err := <-ended; err != nil {
		r.t.Errorf("Run: %v", err)
	}
	r.path.Close()
	r.splice.Close()
	unix.Close(r.listen)
	for _, f := range r.flows {
		if n := f.overs.Load(); n != 1 {
			r.t.Errorf("over was called %d times", n)
		}
	}
}

// wantEmpty checks that no map has anything of any flow.
func (r *rig) wantEmpty() {
	r.t.Helper()
	eventually(r.t, "the map of sockets to be empty", func() bool {
		n, err := r.data.Sockets()
		return n == 0 && err == nil
	})
	if n, err := r.data.Bound(); n != 0 || err != nil {
		r.t.Errorf("%d cookies are left, %v", n, err)
	}
	for i := range r.data.Ways() {
		w := &r.data.Ways()[i]
		if w.Mode.Load() != slot.Free || w.Passed.Load() != 0 || w.Redirected.Load() != 0 || w.Marks.Load() != 0 {
			r.t.Errorf("way %d is not clear", i)
		}
	}
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

// count is the program's counter of a reason, from the rig's beginning.
func (r *rig) count(why slot.Reason) uint64 {
	r.t.Helper()
	all, err := r.data.Counters()
	if err != nil {
		r.t.Fatal(err)
	}
	return all[why] - r.began[why]
}

// testFlow is a flow with the two peers that it connects.
type testFlow struct {
	r              *rig
	flow           flow.Flow
	client, server *net.TCPConn
	down, up       int // the gateway's sockets
	c              flow.Carriage
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
	f := r.connect()
	f.start()
	return f
}

// connect makes the two connections of a flow that nobody carries yet.
func (r *rig) connect() *testFlow {
	r.t.Helper()
	f := &testFlow{r: r, result: make(chan result, 8)}
	f.client, f.down = r.pair()
	f.server, f.up = r.pair()
	return f
}

// start gives the flow to the path.
func (f *testFlow) start() { f.startOn(f.r.path) }

// carrier is what any path does.
type carrier interface {
	Carry(f *flow.Flow, down, up poll.FD, over func(flow.End, string)) flow.Carriage
}

func (f *testFlow) startOn(path carrier) {
	f.r.flows = append(f.r.flows, f)
	f.carryOn(path)
}

func (f *testFlow) carryOn(path carrier) {
	r := f.r
	r.do(func() {
		var fds [2]poll.FD
		for i, fd := range [2]int{f.down, f.up} {
			var err error
			if fds[i], err = r.loop.Add(fd, poll.Stream, nobody{}); err != nil {
				r.t.Error(err)
			}
		}
		f.c = path.Carry(&f.flow, fds[0], fds[1], f.over)
	})
}

func (f *testFlow) over(end flow.End, detail string) {
	f.overs.Add(1)
	f.result <- result{end, detail}
}

// ways are the flow's, as long as it lives: found by the cookies of its sockets.
func (f *testFlow) ways() (down, up *slot.Way) {
	f.r.t.Helper()
	cookies := [2]uint64{cookie(f.r.t, f.down), cookie(f.r.t, f.up)}
	for i := range f.r.data.Ways() {
		switch w := &f.r.data.Ways()[i]; w.Peer.Load() {
		case cookies[1]:
			down = w
		case cookies[0]:
			up = w
		}
	}
	if down == nil || up == nil {
		f.r.t.Fatal("the flow has no ways")
	}
	return down, up
}

// nobody is the handler before the path's.
type nobody struct{}

func (nobody) Ready(poll.Events) {}

// pair makes a connection: the peer's side, and the gateway's.
func (r *rig) pair() (*net.TCPConn, int) {
	r.t.Helper()
	dial, accept := r.dial, r.accept
	if r.opts.dial != nil {
		dial, accept = r.opts.dial, r.opts.accept
	}
	r.pairs.Lock()
	defer r.pairs.Unlock()
	c, err := dial()
	if err != nil {
		r.t.Fatal(err)
	}
	fd, err := accept()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		r.t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(2 * patience)); err != nil {
		r.t.Fatal(err)
	}
	return c, fd
}

func (r *rig) accept() (int, error) {
	fd, _, err := unix.Accept4(r.listen, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	return fd, err
}

func (r *rig) dial() (*net.TCPConn, error) {
	sa, err := unix.Getsockname(r.listen)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { setBuffers(r.t, int(fd), r.opts.buffer) })
	}}
	c, err := dialer.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port))
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// listener makes a blocking listening socket.
func listener(t testing.TB) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 1024))
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// common is the program that most tests share: to load it takes half a second.
var common struct {
	dir  string
	once sync.Once
	data *loader.Datapath
	err  error
}

// load returns the program with room for that many flows.
func load(t testing.TB, flows int) *loader.Datapath {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: it loads BPF programs and mounts a BPF file system")
	}
	if flows == commonFlows {
		common.once.Do(func() { common.data, common.err = loadNew("common", flows) })
		if common.err != nil {
			t.Fatal(common.err)
		}
		return common.data
	}
	d, err := loadNew("own", flows)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// loadNew loads the program, pinned on a BPF file system of the tests' own.
func loadNew(instance string, flows int) (*loader.Datapath, error) {
	if common.dir == "" {
		sweepMounts()
		dir := fmt.Sprintf("%s%d", mountPrefix, os.Getpid())
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
		if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
			return nil, fmt.Errorf("mount a BPF file system: %w", err)
		}
		common.dir = dir
	}
	return loader.Load(loader.Options{Root: common.dir + "/sluice", Instance: instance, Flows: flows})
}

// mountPrefix begins the names of the tests' file systems; a process's number ends
// them.
var mountPrefix = filepath.Join(os.TempDir(), "sluice-sockmap-bpf-")

// sweepMounts removes what test programs have left that were killed.
func sweepMounts() {
	left, _ := filepath.Glob(mountPrefix + "*")
	for _, dir := range left {
		if _, err := os.Stat("/proc/" + strings.TrimPrefix(dir, mountPrefix)); errors.Is(err, os.ErrNotExist) {
			_ = unix.Unmount(dir, unix.MNT_DETACH)
			_ = os.Remove(dir)
		}
	}
}

func unload() {
	if common.data != nil {
		if err := common.data.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	if common.dir != "" {
		_ = unix.Unmount(common.dir, unix.MNT_DETACH)
		_ = os.Remove(common.dir)
	}
}

// TestMain makes Go open its netpoller's descriptors before any are counted. In a
// child that a test has started, it is an agent instead.
func TestMain(m *testing.M) {
	if root := os.Getenv(childRoot); root != "" {
		if err := child(root); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if l, err := net.Listen("tcp4", "127.0.0.1:0"); err == nil {
		l.Close()
	}
	code := m.Run()
	unload()
	os.Exit(code)
}
