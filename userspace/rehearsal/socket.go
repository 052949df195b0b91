package rehearsal

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// The sockets do not block: what cannot be done at once is waited for with poll(2), and
// for Patience at most.

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
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP)
	if err != nil {
		return -1, fmt.Errorf("make a socket: %w", err)
	}
	// For back-pressure to show soon.
	err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, Credit),
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
		err = retry(listen, unix.POLLIN, func() error {
			own, _, err = unix.Accept4(listen, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			return err
		})
	}
	if err != nil {
		unix.Close(peer)
		return -1, -1, fmt.Errorf("connect over loopback: %w", err)
	}
	return peer, own, nil
}

// connect waits for the connection. The call that follows the first one tells what came
// of that: nothing yet, or nothing wrong.
func connect(fd int, addr unix.Sockaddr) error {
	err := retry(fd, unix.POLLOUT, func() error {
		err := unix.Connect(fd, addr)
		if err == unix.EINPROGRESS || err == unix.EALREADY {
			return unix.EAGAIN
		}
		return err
	})
	if err == unix.EISCONN {
		return nil
	}
	return err
}

// Receive reads what there is, up to the length of b, and waits when there is nothing.
func Receive(fd int, b []byte, flags int) (n int, err error) {
	err = retry(fd, unix.POLLIN, func() error {
		n, _, err = unix.Recvfrom(fd, b, flags)
		return err
	})
	return n, err
}

// retry calls f until it does not want to wait, or for Patience: then its error is that
// of the last call.
func retry(fd int, events int16, f func() error) error {
	for deadline := time.Now().Add(Patience); ; {
		err := f()
		if err == unix.EINTR {
			continue
		}
		left := time.Until(deadline)
		if err != unix.EAGAIN || left <= 0 {
			return err
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
		if _, err := unix.Poll(fds, int(left/time.Millisecond)+1); err != nil && err != unix.EINTR {
			return fmt.Errorf("poll: %w", err)
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
			return errors.New("what was sent is not acknowledged")
		}
	}
}
