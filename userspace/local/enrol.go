package local

import (
	"fmt"
	"net/netip"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"sluice/userspace/slot"
)

// begin enrols the flow's senders, given the gateway's sockets. Unless it returns taken,
// no message of theirs will be redirected.
func (c *carriage) begin(fds [2]int) reason {
	e := c.path.engine
	if e.off.Load() != nil {
		return isOff
	}
	var ends [2]end
	found := false
	for i := range ends {
		var err error
		if ends[i], err = e.look(fds[i]); err != nil {
			return refused
		}
		found = found || ends[i].here
	}
	if !found {
		return isRemote
	}
	var ok bool
	if c.pair, ok = e.take(); !ok {
		return isFull
	}
	why := c.enrol(ends)
	if why != taken {
		e.give(c.pair)
	}
	return why
}

// enrol is begin for a flow with a sender on this host. One that is refused does not
// keep the other one from it.
func (c *carriage) enrol(ends [2]end) reason {
	e := c.path.engine
	for i := range ends {
		if err := e.kernel.Insert(ends[i].cookie, ends[i].fd); err != nil {
			return whyRefused(err)
		}
	}
	all := isRemote
	for i, moved := range [2]*atomic.Uint64{&c.flow.Sent, &c.flow.Received} {
		if !ends[i].here {
			continue
		}
		index := 2*c.pair + uint32(i)
		s := &e.ways[index]
		s.Target.Store(ends[1-i].cookie)
		answer, err := e.kernel.Enrol(ends[i].own, ends[i].other, ends[i].cookie, ends[1-i].cookie, index)
		why := whyNot(answer, err)
		if why == taken {
			c.ways[i] = way{slot: s, moved: moved, start: moved.Load()}
		} else {
			s.Target.Store(0)
		}
		if all != taken {
			all = why
		}
	}
	return all
}

// end is one of the gateway's sockets, with what it is connected to.
type end struct {
	fd         int
	cookie     uint64
	own, other netip.AddrPort
	here       bool // the other end is in this network namespace
}

// look finds out about an end.
func (e *Engine) look(fd int) (end, error) {
	var err error
	d := end{fd: fd}
	if d.own, err = address(unix.Getsockname(fd)); err != nil {
		return d, err
	}
	if d.other, err = address(unix.Getpeername(fd)); err != nil {
		return d, err
	}
	if d.cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE); err != nil {
		return d, fmt.Errorf("read SO_COOKIE: %w", err)
	}
	d.here, err = e.kernel.Find(d.own, d.other)
	return d, err
}

func address(sa unix.Sockaddr, err error) (netip.AddrPort, error) {
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("read a socket's address: %w", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port)), nil
	}
	return netip.AddrPort{}, fmt.Errorf("a socket of another family: %T", sa)
}

// whyNot is the reason for an answer of the kernel's.
func whyNot(answer slot.Enrolled, err error) reason {
	if err != nil {
		return whyRefused(err)
	}
	switch answer {
	case slot.Enrolls:
		return taken
	case slot.Absent:
		return isRemote
	case slot.Closing:
		return notOpen
	case slot.ULP:
		return hasULP
	case slot.ZeroCopy:
		return zeroCopies
	case slot.Blocking:
		return blocks
	case slot.Disagrees:
		return disagrees
	}
	return refused
}
