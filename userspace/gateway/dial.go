package gateway

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
	"sluice/userspace/poll"
	"sluice/userspace/proxyheader"
)

// upstream is a conn as the handler of its upstream leg.
type upstream conn

// dial tries endpoints of the cluster until a connect is under way or none is
// left to try.
func (c *conn) dial() {
	f := &c.flow
	for f.Attempts < max(c.w.g.cfg.ConnectAttempts, 1) {
		endpoint, addr, ok := f.Cluster.Pick(c.tried)
		if !ok {
			break
		}
		f.Endpoint, f.Upstream = endpoint, addr
		endpoint.Load.Active.Add(1)
		c.onEndpoint = true
		f.Attempts++
		c.tried = append(c.tried, addr)
		c.w.g.parts.Observer.ConnectAttempt()
		err := c.connect(addr)
		if err == nil {
			return
		}
		c.attemptFailed(err)
		if lacksResources(err) {
			break // no other endpoint would help
		}
	}
	if f.Attempts == 0 {
		c.refuse(flow.NoEndpoint, "")
		return
	}
	c.refuse(c.dialEnd())
}

// connect begins to connect to addr.
func (c *conn) connect(addr netip.AddrPort) error {
	fd, err := newSocket(addr.Addr())
	if err != nil {
		return err
	}
	if err := setOptions(fd, c.w.options); err != nil {
		unix.Close(fd)
		return err
	}
	if err := unix.Connect(fd, sockaddr(addr)); err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return fmt.Errorf("connect to %s: %w", addr, err)
	}
	if c.up, err = c.w.loop.Add(fd, poll.Stream, (*upstream)(c)); err != nil {
		unix.Close(fd)
		return err
	}
	timeout := c.flow.Cluster.ConnectTimeout
	if timeout == 0 {
		timeout = c.w.g.cfg.ConnectTimeout
	}
	c.expireAfter(timeout)
	return nil
}

// Ready is called when the connect has come to something.
func (u *upstream) Ready(ev poll.Events) {
	c := (*conn)(u)
	errno, err := unix.GetsockoptInt(c.up.Sys, unix.SOL_SOCKET, unix.SO_ERROR)
	switch {
	case err != nil:
		c.connectFailed(err)
	case errno != 0:
		c.connectFailed(unix.Errno(errno))
	case ev.Has(poll.Out):
		c.established()
	}
}

// connectFailed goes on with the next endpoint.
func (c *conn) connectFailed(err error) {
	c.attemptFailed(fmt.Errorf("connect to %s: %w", c.flow.Upstream, err))
	c.dial()
}

func (c *conn) attemptFailed(err error) {
	c.w.g.parts.Observer.ConnectFailure(err)
	if c.booking.account != nil {
		c.booking.account.ConnectFailed()
	}
	c.dialErr = err
	c.closeUpstream()
	c.leaveEndpoint()
}

// dialEnd is how the flow ends when no attempt succeeded: the last one's error
// stands for all, each of which was counted.
func (c *conn) dialEnd() (flow.End, string) {
	if lacksResources(c.dialErr) {
		return flow.NoResources, c.dialErr.Error()
	}
	return flow.ConnectFailed, c.dialErr.Error()
}

func (c *conn) closeUpstream() {
	if c.up.Valid() {
		c.w.loop.Close(c.up)
		c.up, c.upLocal = poll.FD{}, netip.AddrPort{}
	}
}

// leaveEndpoint takes the flow off its endpoint's count.
func (c *conn) leaveEndpoint() {
	if c.onEndpoint {
		c.flow.Endpoint.Load.Active.Add(-1)
		c.onEndpoint = false
	}
}

// sendHeader begins the upstream connection with a PROXY header that has the
// flow's source and server name.
func (c *conn) sendHeader() error {
	f := &c.flow
	b, err := proxyheader.Append(c.w.scratch[:0], f.Source, f.Local, f.SNI)
	if err != nil {
		return err
	}
	// A new connection has room for it, so a short write is as good as an error.
	n, err := unix.SendmsgN(c.up.Sys, b, nil, nil, unix.MSG_NOSIGNAL)
	if err == nil && n < len(b) {
		err = unix.ENOBUFS
	}
	if err != nil {
		return fmt.Errorf("send PROXY header: %w", err)
	}
	return nil
}
