package gateway

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
	"sluice/userspace/sni"
)

// alone runs the test in a process of its own, which may use up all that it is
// allowed. It is true in there.
func alone(t *testing.T) bool {
	t.Helper()
	const mark = "SLUICE_TEST_ALONE"
	if os.Getenv(mark) != "" {
		return true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), mark+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// exhaust takes all descriptors but spare ones, and returns a function that
// gives back n of them.
func exhaust(t *testing.T, spare int) (giveBack func(n int)) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	limit.Cur = uint64(descriptors(t) + 100)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	var held []int
	for {
		fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			break
		}
		held = append(held, fd)
	}
	giveBack = func(n int) {
		for _, fd := range held[:n] {
			unix.Close(fd)
		}
		held = held[n:]
	}
	t.Cleanup(func() { giveBack(len(held)) })
	giveBack(spare)
	return giveBack
}

// rawClient is a socket made while there still are descriptors, to connect later.
type rawClient int

func newRawClient(t *testing.T) rawClient {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	timeout := unix.NsecToTimeval(patience.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		t.Fatal(err)
	}
	return rawClient(fd)
}

func (c rawClient) open(t *testing.T, to netip.AddrPort, b []byte) {
	t.Helper()
	if err := unix.Connect(int(c), sockaddr(to)); err != nil {
		t.Fatal(err)
	}
	if n, err := unix.Write(int(c), b); err != nil || n != len(b) {
		t.Fatalf("sent %d of %d bytes: %v", n, len(b), err)
	}
}

func (c rawClient) expect(t *testing.T, want []byte) {
	t.Helper()
	var got []byte
	for b := make([]byte, 4096); len(got) < len(want); {
		n, err := unix.Read(int(c), b)
		if n <= 0 {
			t.Fatalf("read %d bytes of %d, then %v", len(got), len(want), err)
		}
		got = append(got, b[:n]...)
	}
	if string(got) != string(want) {
		t.Fatalf("read %q, want %q", got, want)
	}
}

// Out of descriptors, the gateway lets connections wait in the kernel, without
// spinning on them, and serves them when it can.
func TestAcceptBacksOff(t *testing.T) {
	if !alone(t) {
		return
	}
	r := start(t, func(s *setup) { s.lead("api.test", echo(t)) })
	h := hello(t, "api.test")
	served := r.open(h)
	served.expect(h)

	waiting := []rawClient{newRawClient(t), newRawClient(t)}
	giveBack := exhaust(t, 0)
	begun, cpu := time.Now(), cpuTime(t)
	for _, c := range waiting {
		c.open(t, r.Addrs()[0], h)
	}
	eventually(t, "accept fails several times", func() bool { return len(r.seen.acceptErrors()) >= 7 })
	time.Sleep(time.Second)
	errs, took, used := r.seen.acceptErrors(), time.Since(begun), cpuTime(t)-cpu
	for _, err := range errs {
		if !errors.Is(err, unix.EMFILE) {
			t.Errorf("accept failed with %v, want %v", err, unix.EMFILE)
		}
	}
	// From minBackoff it doubles up to maxBackoff: 8 failures, and then one in
	// each second.
	if most := 9 + int(took/maxBackoff); len(errs) > most {
		t.Errorf("accept was tried %d times in %v, want at most %d", len(errs), took, most)
	}
	// What it used is mostly this test's polling.
	if used > took/2 {
		t.Errorf("%v of CPU time used in %v", used, took)
	}
	served.send([]byte("still there"))
	served.expect([]byte("still there"))
	if n := r.Active(); n != 1 {
		t.Errorf("%d flows active, want 1", n)
	}

	giveBack(50)
	for _, c := range waiting {
		c.expect(t, h)
	}
	r.inside(func(w *worker) {
		if w.listeners[0].backoff != 0 {
			t.Errorf("after a success the next back-off would be %v", 2*w.listeners[0].backoff)
		}
	})
	for range 10 {
		r.open(h).expect(h)
	}
}

func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A connection can be accepted, but there is no descriptor for its upstream.
func TestNoDescriptorForUpstream(t *testing.T) {
	if !alone(t) {
		return
	}
	r := start(t, func(s *setup) { s.lead("api.test", echo(t)) })
	h := hello(t, "api.test")
	served := r.open(h)
	served.expect(h)
	c := newRawClient(t)
	giveBack := exhaust(t, 1)
	c.open(t, r.Addrs()[0], h)
	c.expect(t, sni.AppendAlert(nil, sni.AlertInternalError))
	f := r.ends(1)[0]
	if f.End != flow.NoResources || f.Detail == "" {
		t.Errorf("ended as %v (%s), want %v", f.End, f.Detail, flow.NoResources)
	}
	if _, failures := r.seen.connects(); len(failures) != f.Attempts || !errors.Is(failures[0], unix.EMFILE) {
		t.Errorf("%d attempts, failures %v; want %v", f.Attempts, failures, unix.EMFILE)
	}
	giveBack(50)
	served.send([]byte("still there"))
	served.expect([]byte("still there"))
	r.open(h).expect(h)
}
