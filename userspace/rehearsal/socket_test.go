package rehearsal

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fullListener is one whose queue has no room: who connects to it waits.
func fullListener(t *testing.T) int {
	t.Helper()
	listen, err := Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(listen) })
	if err := unix.Listen(listen, 0); err != nil { // room for one
		t.Fatal(err)
	}
	addr, err := unix.Getsockname(listen)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := Socket()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := connect(fd, addr); err != nil {
		t.Fatal(err)
	}
	return listen
}

// TestConnectInterrupted has signals come while the self-test connects, as those of
// the Go runtime do on a slow machine.
func TestConnectInterrupted(t *testing.T) {
	type pair struct {
		peer, own int
		err       error
	}
	for _, tc := range []struct {
		name string
		room bool // comes in time
	}{
		{"answered late", true},
		{"never answered", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel() // both wait
			listen := fullListener(t)
			thread, done := make(chan int, 1), make(chan pair, 1)
			go func() {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				thread <- unix.Gettid()
				peer, own, err := Connection(listen)
				done <- pair{peer, own, err}
			}()
			tid := <-thread
			for begun := time.Now(); time.Since(begun) < Patience/10; time.Sleep(time.Millisecond) {
				if err := unix.Tgkill(unix.Getpid(), tid, unix.SIGURG); err != nil {
					t.Fatal(err)
				}
			}
			if tc.room {
				first, _, err := unix.Accept4(listen, unix.SOCK_CLOEXEC)
				if err != nil {
					t.Fatal(err)
				}
				defer unix.Close(first)
			}
			select {
			case got := <-done:
				if (got.err == nil) != tc.room {
					t.Errorf("connected: %v, want %v: %v", got.err == nil, tc.room, got.err)
				}
				if got.err == nil {
					unix.Close(got.peer)
					unix.Close(got.own)
				}
			case <-time.After(4 * Patience):
				t.Error("it does not end")
			}
		})
	}
}
