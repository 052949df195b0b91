package rehearsal

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// The sockets block, for Patience at most, but for those that the path gets.

// Listen returns a socket that listens on loopback.
func Listen() (int, error) {
	fd, err := Socket()
	if err != nil {
		return -1, err
	}
	err = errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 16))
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("listen on loopback: %w", err)
	}
	return fd, nil
}

// Socket returns one that is not connected, with small buffers.
func Socket() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return -1, fmt.Errorf("make a socket: %w", err)
	}
	wait := unix.NsecToTimeval(int64(Patience))
	err = errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &wait),
		// Small, for back-pressure to show soon.
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, Credit),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, Credit))
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("set up a socket: %w", err)
	}
	return fd, nil
}

// Connection makes a connection to a listener and returns both ends of it.
func Connection(listen int) (peer, own int, err error) {
	addr, err := unix.Getsockname(listen)
	if err != nil {
		return -1, -1, err
	}
	if peer, err = Socket(); err != nil {
		return -1, -1, err
	}
	if err = connect(peer, addr); err == nil {
		for {
			own, _, err = unix.Accept4(listen, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			if err != unix.EINTR {
				break
			}
		}
	}
	if err != nil {
		unix.Close(peer)
		return -1, -1, fmt.Errorf("connect over loopback: %w", err)
	}
	return peer, own, nil
}

// connect is the blocking call. A signal, such as the Go runtime's own, may end it
// early; the kernel goes on connecting then, and the next call waits for that. When
// the socket's time is up, that one says EALREADY.
func connect(fd int, addr unix.Sockaddr) error {
	for {
		if err := unix.Connect(fd, addr); err != unix.EINTR {
			return err
		}
	}
}

// Acknowledged waits until all that a socket has sent has arrived.
func Acknowledged(fd int) error {
	for deadline := time.Now().Add(Patience); ; time.Sleep(100 * time.Microsecond) {
		left, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
		if err != nil {
			return fmt.Errorf("read SIOCOUTQ: %w", err)
		}
		if left == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.New("what was sent is not Acknowledged")
		}
	}
}
