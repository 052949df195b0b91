package sockmap

import (
	"encoding/binary"
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"

	"sluice/userspace/rehearsal"
)

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
	fd, err = rehearsal.Socket()
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
