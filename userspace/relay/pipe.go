package relay

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// pipe is a kernel pipe: the only thing splice(2) moves bytes through.
type pipe struct{ r, w int }

// pipes is one loop's bounded pool. A loop moves one direction of one flow at a
// time, so it needs one pipe at a time, and one is always left idle for that.
// The others are on loan to flows whose receiver did not take all that had been
// read for it.
type pipes struct {
	idle []pipe
	open int // idle ones included
	max  int
	size int // capacity asked for, in bytes
}

// grow opens one more pipe.
func (ps *pipes) grow() error {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	// Unprivileged processes may be refused more than the default of 64 KiB:
	// the pipe works all the same.
	_, _ = unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, ps.size)
	ps.open++
	ps.put(pipe{fds[0], fds[1]})
	return nil
}

// most is how many bytes the next move may take: the fewer, the more flows have not
// got rid of theirs.
func (ps *pipes) most() int {
	switch lent := ps.open - len(ps.idle); {
	case lent < ps.max/2:
		return ps.size
	case lent < ps.max-1:
		return ps.size / 4
	default: // what is not taken goes to memory
		return ps.size / 16
	}
}

// put takes back an empty pipe.
func (ps *pipes) put(p pipe) { ps.idle = append(ps.idle, p) }

// get lends a pipe for one move. To keep it longer, see spare.
func (ps *pipes) get() pipe {
	last := len(ps.idle) - 1
	p := ps.idle[last]
	ps.idle = ps.idle[:last]
	return p
}

// spare tells whether the pipe lent last may stay on loan: whether another one
// is there, or can be had, for the moves to come.
func (ps *pipes) spare() bool {
	return len(ps.idle) > 0 || ps.open < ps.max && ps.grow() == nil
}

// recycle takes back a pipe that still holds bytes of a flow that is over.
func (ps *pipes) recycle(p pipe) {
	var trash [16 << 10]byte
	for {
		if n, err := unix.Read(p.r, trash[:]); n <= 0 && err != unix.EINTR {
			break
		}
	}
	ps.put(p)
}

// close frees the idle ones.
func (ps *pipes) close() {
	for _, p := range ps.idle {
		unix.Close(p.r)
		unix.Close(p.w)
		ps.open--
	}
	ps.idle = nil
}
