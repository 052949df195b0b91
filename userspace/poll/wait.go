package poll

import (
	"os"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// brief is how short a wait is of a loop that is busy.
const brief = time.Millisecond

// interruptible tells whether Go's scheduler stops threads by signals, as it does
// unless told otherwise.
var interruptible = !strings.Contains(os.Getenv("GODEBUG"), "asyncpreemptoff=1")

// wait waits for events, up to the next timer.
//
// While a thread blocks, Go's scheduler gives its place to others, and to see whether
// it does a thread of the scheduler's own looks every 20 us: a loop that is woken
// 10,000 times a second pays a tenth of its time for that. So a busy loop does not say
// that it waits. The scheduler takes it for one that computes, and when it wants it to
// stop, for the garbage collector or after 10 ms at the latest, it sends a signal,
// which ends the wait. Then the loop says so.
func (l *Loop) wait(events []unix.EpollEvent) (int, error) {
	begun := l.elapsed()
	n, err := 0, error(unix.EINTR)
	if l.busy && interruptible {
		n, err = waitSecretly(l.epfd, events, l.timeout())
	}
	if err == unix.EINTR {
		n, err = unix.EpollWait(l.epfd, events, l.timeout())
	}
	l.now = l.elapsed()
	l.busy = l.now-begun < brief
	if err == unix.EINTR {
		return 0, nil
	}
	if n > 0 {
		l.perWake += (float64(n) - l.perWake) / wakesKept
	}
	return n, err
}

// wakesKept is how many wake-ups an average goes back, about.
const wakesKept = 64

// PerWake is how many events a wake-up has brought of late, on average: the more, the
// less of it each one costs. Call it on the loop.
func (l *Loop) PerWake() float64 { return l.perWake }

// waitSecretly is unix.EpollWait, but that the scheduler is not told.
func waitSecretly(epfd int, events []unix.EpollEvent, ms int) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd),
		uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(ms), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
