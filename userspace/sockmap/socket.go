package sockmap

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fit tells why a socket cannot be inserted, or that it can.
func fit(fd int) (why reason, ok bool) {
	if proto, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL); err != nil || proto != unix.IPPROTO_TCP {
		return isMPTCP, false
	}
	// Empty when there is none.
	if ulp, err := unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_ULP); err == nil && ulp != "" {
		return hasULP, false
	}
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil || info.State != unix.BPF_TCP_ESTABLISHED {
		return notOpen, false
	}
	return 0, true
}

// position is how many bytes have been put into a socket's write queue since it
// was made: those acknowledged, and those still there. The kernel tells the two
// apart from each other, so it is asked until no acknowledgement came in between.
// When one always does, the answer is less than what is true, and exact is false.
//
// TCP_INFO has bytes_sent, bytes_retrans and notsent_bytes too, but their sum can
// be more than what is true: a packet that the host's own queue drops counts as
// sent, and is sent again without counting as a retransmission.
func position(fd int) (bytes uint64, exact bool, err error) {
	before, err := acknowledgedBytes(fd)
	if err != nil {
		return 0, false, err
	}
	for range positionTries {
		left, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
		if err != nil {
			return 0, false, fmt.Errorf("read SIOCOUTQ: %w", err)
		}
		after, err := acknowledgedBytes(fd)
		if err != nil {
			return 0, false, err
		}
		bytes = before + uint64(left)
		if before == after {
			return bytes, true, nil
		}
		before = after
	}
	return bytes, false, nil
}

const positionTries = 16

// delivered tells whether the peer has acknowledged all that was put into the write
// queue.
func delivered(fd int) bool {
	left, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	return err != nil || left == 0
}

func acknowledgedBytes(fd int) (uint64, error) {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, fmt.Errorf("read TCP_INFO: %w", err)
	}
	return info.Bytes_acked, nil
}

func cookieOf(fd int) (uint64, error) {
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		return 0, fmt.Errorf("read SO_COOKIE: %w", err)
	}
	return cookie, nil
}

// fitBuffer sets a socket's send buffer to twice the credit, the second half being
// for the memory that packets take beside their bytes. It must have room for a
// credit's worth, or the program could not grant it; and no more, because slow
// ways fill it. Without CAP_NET_ADMIN it becomes as large as the system lets it.
func fitBuffer(fd int, credit uint32) {
	// The kernel doubles what it is given. The largest packet must fit.
	size := max(int(credit), 64<<10)
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, size) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, size)
	}
}

// kick has the program see what arrived on a socket before it was inserted: that
// would otherwise wait for the next segment. The value is the default, and setting
// it makes the kernel look whether there is something to read.
func kick(fd int) {
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVLOWAT, 1)
}

// writable tells whether a socket takes bytes now. When it does not, its loop
// will be told once it does.
func writable(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 1
}

func receive(fd int, b []byte) (int, error) {
	return rawCall(unix.SYS_RECVFROM, fd, b, 0)
}

func send(fd int, b []byte) (int, error) {
	return rawCall(unix.SYS_SENDTO, fd, b, unix.MSG_NOSIGNAL)
}

// rawCall does not tell Go's scheduler: the call is short and never blocks.
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

// socketError takes the error that an event has announced.
func socketError(fd int) error {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && n == 0 {
		return unix.ECONNRESET
	}
	if err == nil {
		err = unix.Errno(n)
	}
	return err
}
