// Package sockdiag asks the kernel about TCP sockets, all of them at once: round-trip
// times, losses and queues, as TCP_INFO has them, by the netlink interface that ss
// uses too (sock_diag(7)).
//
// A call of getsockopt for each socket would have to be made by the process that has
// it, on the loops that move bytes. The dump needs neither, nor any rights, and costs
// some microseconds for a socket:
//
//	table, err := sockdiag.Dump()
//	...
//	if s := table.Pair(sockdiag.PairOf(local, remote)); s != nil {
//		fmt.Println(s.RTT, s.Retransmits)
//	}
//
// It sees the network namespace of the caller's thread. Destroy resets a socket from
// outside, for when its own process cannot be asked.
package sockdiag

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Pair is the addresses of a connected socket. Those of IPv4 are always in their short
// form, and those of links have no zone.
type Pair struct{ Local, Remote netip.AddrPort }

// PairOf returns the pair of these addresses, in the form that a Table has.
func PairOf(local, remote netip.AddrPort) Pair { return Pair{short(local), short(remote)} }

func short(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// String is both addresses, the socket's own first.
func (p Pair) String() string { return p.Local.String() + " to " + p.Remote.String() }

// Socket is a connected TCP socket.
type Socket struct {
	Pair
	Cookie uint64 // its number in the kernel, never used again (SO_COOKIE)
	State  State
	Info

	link uint32 // the interface that it is bound to, 0 for any
}

// Info is what tcp_info has of interest (linux/tcp.h).
type Info struct {
	RTT           time.Duration // smoothed
	RTTVar        time.Duration
	MinRTT        time.Duration
	Retransmits   uint32 // segments sent again, since it was opened
	Timeouts      uint8  // timeouts in a row, for the oldest segment not acknowledged
	Cwnd          uint32 // segments
	Unacked       uint32 // segments
	NotSent       uint32 // bytes in the send queue that were never sent
	BytesAcked    uint64
	BytesReceived uint64
	DeliveryRate  uint64 // bytes per second, as measured last
}

// Table is all connected sockets at one moment, more or less: the kernel goes on while
// it tells.
type Table struct {
	sockets []Socket
	byPair  map[Pair]int // -1 where several have it, on different links
}

// Len is the number of sockets.
func (t *Table) Len() int { return len(t.sockets) }

// All yields the sockets, in no order.
func (t *Table) All() iter.Seq[*Socket] {
	return func(yield func(*Socket) bool) {
		for i := range t.sockets {
			if !yield(&t.sockets[i]) {
				return
			}
		}
	}
}

// Pair returns the socket with these addresses, nil for none.
func (t *Table) Pair(p Pair) *Socket {
	if i, ok := t.byPair[p]; ok && i >= 0 {
		return &t.sockets[i]
	}
	return nil
}

// Cookie returns the socket with this number, nil for none. It looks at all of them.
func (t *Table) Cookie(cookie uint64) *Socket {
	for s := range t.All() {
		if s.Cookie == cookie {
			return s
		}
	}
	return nil
}

func (t *Table) add(s Socket) {
	i := len(t.sockets)
	t.sockets = append(t.sockets, s)
	if _, taken := t.byPair[s.Pair]; taken {
		i = -1
	}
	t.byPair[s.Pair] = i
}

// Dump asks for all TCP sockets with a peer, IPv4 and IPv6: one request for each, as
// the kernel has it. Those that wait for the rest of a handshake, or out their time,
// have nothing to tell and are left out.
func Dump() (*Table, error) {
	t := &Table{byPair: map[Pair]int{}}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
		req.AddRawData(request{family: family, states: connected, info: true}.bytes())
		var bad error
		err := execute(req, func(msg []byte) bool {
			s, ok, err := parse(msg)
			if ok {
				t.add(s)
			}
			bad = err
			return err == nil
		})
		if err == nil {
			err = bad
		}
		if errors.Is(err, unix.ENOENT) {
			err = fmt.Errorf("%w: the kernel has no tcp_diag", err)
		}
		if err != nil {
			return nil, fmt.Errorf("ask the kernel for TCP sockets: %w", err)
		}
	}
	return t, nil
}

// Destroy has the kernel reset a socket of a Table, whoever has it. It needs
// CAP_NET_ADMIN. The error unwraps to the kernel's: ENOENT when there is no such
// socket any more, EOPNOTSUPP when it was built without CONFIG_INET_DIAG_DESTROY.
func Destroy(s *Socket) error {
	family := uint8(unix.AF_INET6)
	if s.Local.Addr().Is4() {
		family = unix.AF_INET
	}
	req := nl.NewNetlinkRequest(nl.SOCK_DESTROY, unix.NLM_F_ACK)
	req.AddRawData(request{family: family, states: connected, socket: s}.bytes())
	if err := execute(req, func([]byte) bool { return true }); err != nil {
		return fmt.Errorf("destroy the socket %s: %w", s.Pair, err)
	}
	return nil
}

// patience is how long the kernel may take for the next part of an answer.
var patience = unix.Timeval{Sec: 5}

// execute sends req on a socket of its own, and has f called with each message of the
// answer until it returns false.
func execute(req *nl.NetlinkRequest, f func([]byte) bool) error {
	s, err := nl.Subscribe(unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return fmt.Errorf("open a netlink socket: %w", err)
	}
	defer s.Close()
	if err := errors.Join(s.SetSendTimeout(&patience), s.SetReceiveTimeout(&patience)); err != nil {
		return err
	}
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_SOCK_DIAG: {Socket: s}}
	return req.ExecuteIter(unix.NETLINK_SOCK_DIAG, 0, f)
}
