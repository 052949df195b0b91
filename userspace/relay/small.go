package relay

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// small is what is copied rather than spliced. For a few hundred bytes the pipe
// costs more than the copy: a 128-byte message each way takes a fifth less
// processor time without it. It also bounds how long a raw call can last.
const small = 16 << 10

// receive reads what fd has, up to the length of b. Like send, it does not tell
// Go's scheduler of the call, which costs as much as the copy does: it never
// blocks, fd being non-blocking, and is too short for anyone to wait for.
func receive(fd int, b []byte) (int, error) {
	return rawCall(unix.SYS_RECVFROM, fd, b, 0)
}

// send writes b to fd as far as there is room.
func send(fd int, b []byte) (int, error) {
	return rawCall(unix.SYS_SENDTO, fd, b, unix.MSG_NOSIGNAL)
}

func rawCall(number uintptr, fd int, b []byte, flags uintptr) (int, error) {
	for {
		n, _, errno := unix.RawSyscall6(number, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), flags, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
			continue
		}
		return 0, errno
	}
}
