package poll

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// handlerFunc is a function as a Handler.
type handlerFunc func(Events)

func (f handlerFunc) Ready(ev Events) { f(ev) }

// newLoop makes a loop for a test that runs it to its end.
func newLoop(t testing.TB) *Loop {
	t.Helper()
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// runs drives a loop until the test is over.
func runs(t testing.TB) *Loop {
	t.Helper()
	l := newLoop(t)
	ended := make(chan error, 1)
	go func() { ended <- l.Run() }()
	t.Cleanup(func() {
		l.Post(l.Stop)
		if err := await(t, "the loop to end", ended); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return l
}

// runUntilStopped is Run with an end for the test in case it never stops.
func runUntilStopped(t testing.TB, l *Loop) {
	t.Helper()
	guard := time.AfterFunc(patience, func() {
		l.Post(func() {
			t.Error("the loop was not stopped")
			l.Stop()
		})
	})
	defer guard.Stop()
	if err := l.Run(); err != nil {
		t.Fatalf("Run: %v", err)
	}
}

// watched makes a pair of connected sockets and registers one of them.
func watched(t testing.TB, l *Loop, events Events, h Handler) (f FD, peer int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if f, err = l.Add(fds[0], events, h); err != nil {
		t.Fatal(err)
	}
	gen := l.slots[f.slot-1].gen
	t.Cleanup(func() {
		if l.slots[f.slot-1].gen == gen { // not closed by the loop
			unix.Close(f.Sys)
		}
		unix.Close(fds[1])
	})
	return f, fds[1]
}

func write(t testing.TB, fd int, text string) {
	t.Helper()
	if _, err := unix.Write(fd, []byte(text)); err != nil {
		t.Error(err)
	}
}

func read(t testing.TB, fd int) string {
	t.Helper()
	var buf [64]byte
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		t.Error(err)
	}
	return string(buf[:max(n, 0)])
}

func await[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("not reached")
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
