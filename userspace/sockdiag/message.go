package sockdiag

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// State is a TCP socket's state, by its number in the kernel (net/tcp_states.h).
type State uint8

// States of sockets that have a peer.
const (
	Established State = iota + 1
	SynSent
	SynRecv
	FinWait1
	FinWait2
	TimeWait
	Close
	CloseWait
	LastAck
	Listen
	Closing
)

var stateNames = [...]string{
	Established: "established", SynSent: "syn-sent", SynRecv: "syn-recv", FinWait1: "fin-wait-1",
	FinWait2: "fin-wait-2", TimeWait: "time-wait", Close: "closed", CloseWait: "close-wait",
	LastAck: "last-ack", Listen: "listen", Closing: "closing",
}

// String is the state's name as ss has it.
func (s State) String() string {
	if s == 0 || int(s) >= len(stateNames) {
		return fmt.Sprintf("state %d", uint8(s))
	}
	return stateNames[s]
}

// connected is the states that a dump asks for, as bits.
const connected = 1<<Established | 1<<SynSent | 1<<FinWait1 | 1<<FinWait2 | 1<<CloseWait | 1<<LastAck | 1<<Closing

// Sizes and places of struct inet_diag_req_v2 and inet_diag_msg (linux/inet_diag.h).
// Both have a struct inet_diag_sockid; ports and addresses are in network order, and
// all else in the host's.
const (
	requestSize = 56
	requestID   = 8
	messageSize = 72
	messageID   = 4

	idLocalPort  = 0
	idRemotePort = 2
	idLocal      = 4
	idRemote     = 20
	idLink       = 36
	idCookie     = 40

	infoAttr = 2 // INET_DIAG_INFO
)

// request is a struct inet_diag_req_v2 for TCP.
type request struct {
	family uint8
	states uint32
	info   bool    // with TCP_INFO
	socket *Socket // this one only
}

func (r request) bytes() []byte {
	b := make([]byte, requestSize)
	b[0], b[1] = r.family, unix.IPPROTO_TCP
	if r.info {
		b[2] = 1 << (infoAttr - 1)
	}
	binary.NativeEndian.PutUint32(b[4:], r.states)
	if s := r.socket; s != nil {
		id := b[requestID:]
		binary.BigEndian.PutUint16(id[idLocalPort:], s.Local.Port())
		binary.BigEndian.PutUint16(id[idRemotePort:], s.Remote.Port())
		copy(id[idLocal:], s.Local.Addr().AsSlice())
		copy(id[idRemote:], s.Remote.Addr().AsSlice())
		binary.NativeEndian.PutUint32(id[idLink:], s.link)
		binary.NativeEndian.PutUint32(id[idCookie:], uint32(s.Cookie))
		binary.NativeEndian.PutUint32(id[idCookie+4:], uint32(s.Cookie>>32))
	}
	return b
}

// parse reads a struct inet_diag_msg with its attributes. It reports false for a socket
// without TCP_INFO, such as one that has shrunk to what waits for a late segment.
func parse(b []byte) (s Socket, ok bool, err error) {
	if len(b) < messageSize {
		return s, false, fmt.Errorf("a message of %d bytes about a socket, want at least %d", len(b), messageSize)
	}
	id := b[messageID:]
	s = Socket{
		Pair:   PairOf(address(b[0], id[idLocal:], id[idLocalPort:]), address(b[0], id[idRemote:], id[idRemotePort:])),
		Cookie: uint64(binary.NativeEndian.Uint32(id[idCookie:])) | uint64(binary.NativeEndian.Uint32(id[idCookie+4:]))<<32,
		State:  State(b[1]),
		link:   binary.NativeEndian.Uint32(id[idLink:]),
	}
	// Each attribute has its length, header included, and its type, and begins at a
	// multiple of four (struct nlattr).
	const header = unix.SizeofNlAttr
	for rest := b[messageSize:]; len(rest) >= header; {
		size := int(binary.NativeEndian.Uint16(rest))
		if size < header || size > len(rest) {
			return s, false, fmt.Errorf("an attribute of %d bytes about a socket, where %d are left", size, len(rest))
		}
		if binary.NativeEndian.Uint16(rest[2:]) == infoAttr {
			s.Info, ok = info(rest[header:size]), true
		}
		rest = rest[min((size+3)&^3, len(rest)):]
	}
	return s, ok, nil
}

func address(family uint8, ip, port []byte) netip.AddrPort {
	addr := netip.AddrFrom16([16]byte(ip))
	if family == unix.AF_INET {
		addr = netip.AddrFrom4([4]byte(ip))
	}
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(port))
}

// info reads a struct tcp_info, of which older kernels have less and newer ones more.
func info(b []byte) Info {
	var raw unix.TCPInfo
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&raw)), unsafe.Sizeof(raw)), b)
	return Info{
		RTT:           time.Duration(raw.Rtt) * time.Microsecond,
		RTTVar:        time.Duration(raw.Rttvar) * time.Microsecond,
		MinRTT:        time.Duration(raw.Min_rtt) * time.Microsecond,
		Retransmits:   raw.Total_retrans,
		Timeouts:      raw.Retransmits,
		Cwnd:          raw.Snd_cwnd,
		Unacked:       raw.Unacked,
		NotSent:       raw.Notsent_bytes,
		BytesAcked:    raw.Bytes_acked,
		BytesReceived: raw.Bytes_received,
		DeliveryRate:  raw.Delivery_rate,
	}
}
