package sockmap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sockets of the self-test. They block, for testPatience at most, but for those
// that the path gets.

func listenLocally() (int, error) {
	fd, err := localSocket()
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

func localSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return -1, fmt.Errorf("make a socket: %w", err)
	}
	wait := unix.NsecToTimeval(int64(testPatience))
	err = errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &wait),
		// Small, for back-pressure to show soon.
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, testCredit),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, testCredit))
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("set up a socket: %w", err)
	}
	return fd, nil
}

// connectTo makes a connection to a listener and returns both ends of it.
func connectTo(listen int) (peer, own int, err error) {
	addr, err := unix.Getsockname(listen)
	if err != nil {
		return -1, -1, err
	}
	if peer, err = localSocket(); err != nil {
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

// acknowledged waits until all that a socket has sent has arrived.
func acknowledged(fd int) error {
	for deadline := time.Now().Add(testPatience); ; time.Sleep(100 * time.Microsecond) {
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

// From linux/tcp.h; package unix does not have them.
const (
	repairRecvQueue = 1
	repairSendQueue = 2
	repairOffQuiet  = -1 // without a probe to the peer
	optionMSS       = 2
	optionWindow    = 3
	optionSACK      = 4
)

// rewind makes a connection forget that its last n bytes were acknowledged, so
// that what it sends next overlaps them, as a retransmission may that the sender
// has put together anew. It takes the socket apart and sets up another one in its
// place, the way checkpoints of processes are restored (TCP_REPAIR). It needs
// CAP_NET_ADMIN.
func rewind(fd int, n uint32) (int, error) {
	own, err := unix.Getsockname(fd)
	if err != nil {
		return fd, err
	}
	peer, err := unix.Getpeername(fd)
	if err != nil {
		return fd, err
	}
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return fd, err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, 1); err != nil {
		return fd, err
	}
	var seqs [2]int
	for i, queue := range []int{repairSendQueue, repairRecvQueue} {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR_QUEUE, queue); err != nil {
			return fd, err
		}
		if seqs[i], err = unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_QUEUE_SEQ); err != nil {
			return fd, err
		}
	}
	unix.Close(fd) // without a word to the peer, in repair
	fd, err = localSocket()
	if err != nil {
		return -1, err
	}
	seqs[0] = int(int32(uint32(seqs[0]) - n))
	return fd, restore(fd, own, peer, seqs, info)
}

// restore makes fd the end of a connection that exists.
func restore(fd int, own, peer unix.Sockaddr, seqs [2]int, info *unix.TCPInfo) error {
	err := errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, 1),
		unix.Bind(fd, own))
	for i, queue := range []int{repairSendQueue, repairRecvQueue} {
		err = errors.Join(err,
			unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR_QUEUE, queue),
			unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_QUEUE_SEQ, seqs[i]))
	}
	if err = errors.Join(err, unix.Connect(fd, peer)); err != nil {
		return err
	}
	var options []byte
	for _, o := range [][2]uint32{
		{optionMSS, info.Snd_mss},
		{optionWindow, scales(info)},
		{optionSACK, 0},
	} {
		options = binary.NativeEndian.AppendUint32(options, o[0])
		options = binary.NativeEndian.AppendUint32(options, o[1])
	}
	return errors.Join(
		unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR_OPTIONS, string(options)),
		unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR_WINDOW, window(uint32(seqs[1]))),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, repairOffQuiet))
}

// window is a struct tcp_repair_window with room for some bytes each way. The
// kernel would ask the peer for its window, but not believe the answer, which
// acknowledges more than it thinks it has sent.
func window(next uint32) string {
	const room = 32 << 10
	var b []byte
	for _, v := range [5]uint32{next, room, room, room, next} {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	return string(b)
}

// scales are a connection's window scales, the peer's in the lower half, as
// TCP_REPAIR_OPTIONS wants them. Package unix leaves the byte out that has them.
func scales(info *unix.TCPInfo) uint32 {
	b := (*[8]byte)(unsafe.Pointer(info))[6]
	snd, rcv := b&15, b>>4
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 { // bit-fields follow the byte order
		snd, rcv = rcv, snd
	}
	return uint32(snd) | uint32(rcv)<<16
}
