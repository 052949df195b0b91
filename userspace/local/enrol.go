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
	for i := range ends {
		var err error
		if ends[i], err = e.look(fds[i]); err != nil {
			return refused
		}
	}
	if !ends[0].here && !ends[1].here {
		return isRemote
	}
	var ok bool
	if c.pair, ok = e.take(c.flow.RouteName()); !ok {
		return isFull
	}
	why := c.enrolBoth(&ends)
	if why != taken {
		e.give(c.pair)
	}
	return why
}

// enrolBoth is begin for a flow with a sender on this host. One that is refused does not
// keep the other one from it. A server may not have accepted its connection yet: then it
// is asked for again as the flow goes on.
func (c *carriage) enrolBoth(ends *[2]end) reason {
	for i := range ends {
		if err := c.path.engine.kernel.Insert(ends[i].cookie, ends[i].fd); err != nil {
			return whyRefused(err)
		}
	}
	all := isRemote
	for i := range ends {
		if !ends[i].here {
			continue
		}
		why := c.enrol(i, ends)
		if why == unaccepted {
			c.late, why = ends, taken
		} else {
			ends[i].here = false
		}
		if all != taken {
			all = why
		}
	}
	return all
}

// enrol enrols the sender of way i, of which nothing must be held here.
func (c *carriage) enrol(i int, ends *[2]end) reason {
	e := c.path.engine
	index := 2*c.pair + uint32(i)
	s := &e.ways[index]
	s.Relayed.Store(0)
	s.Credit.Store(e.credit.Load())
	e.aim(c.pair, i, ends[1-i].cookie)
	answer, err := e.kernel.Enrol(ends[i].own, ends[i].other, ends[i].cookie, ends[1-i].cookie, index)
	why := whyNot(answer, err)
	if why != taken {
		e.aim(c.pair, i, 0)
		return why
	}
	moved := [2]*atomic.Uint64{&c.flow.Sent, &c.flow.Received}[i]
	c.ways[i] = way{slot: s, moved: moved, start: moved.Load(), near: ends[i].cookie}
	return taken
}

// enrolLate enrols those who had not been there. When it turns out that there is no
// sender after all, the flow goes on over the next path.
func (c *carriage) enrolLate() {
	left := false
	for i := range c.late {
		if !c.late[i].here {
			continue
		}
		if c.movable.Holds(i) {
			left = true
			continue
		}
		why := c.enrol(i, c.late)
		if c.late[i].here = why == unaccepted; c.late[i].here {
			left = true
		} else if why != taken {
			c.path.engine.fallen[why].Add(1)
		}
	}
	switch {
	case left:
	case c.ways[0].slot != nil || c.ways[1].slot != nil:
		c.late = nil
	case c.movable.Leave():
		c.path.engine.give(c.pair)
		c.late, c.movable = nil, nil
		c.Carriage = c.path.next.Carry(c.flow, c.down, c.up, c.over)
	}
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
	case slot.Unaccepted:
		return unaccepted
	case slot.Blocking:
		return blocks
	case slot.Disagrees:
		return disagrees
	}
	return refused
}
