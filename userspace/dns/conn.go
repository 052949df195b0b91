package dns

import (
	"encoding/binary"
	"net"
	"time"
)

// datagrams is a UDP connection to a server whose messages are noted. For the
// standard library it has to be a net.PacketConn as well: that is how it tells
// datagrams from a stream.
type datagrams struct {
	*net.UDPConn
	*notes
	attempt time.Duration
}

func (c *datagrams) Write(b []byte) (int, error) {
	c.query(b)
	return c.UDPConn.Write(b)
}

func (c *datagrams) Read(b []byte) (int, error) {
	n, err := c.UDPConn.Read(b)
	if err == nil {
		c.response(b[:n])
	}
	return n, err
}

func (c *datagrams) SetDeadline(t time.Time) error {
	return c.UDPConn.SetDeadline(sooner(t, c.attempt))
}

// stream is the same over TCP, where two bytes of length go before each message
// (RFC 1035, 4.2.2).
type stream struct {
	net.Conn
	*notes
	attempt time.Duration
	in      []byte // of a message not yet whole
}

// Write gets each message in one piece, as RFC 7766, 8 wants them sent.
func (c *stream) Write(b []byte) (int, error) {
	if len(b) > 2 {
		c.query(b[2:])
	}
	return c.Conn.Write(b)
}

func (c *stream) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.in = append(c.in, b[:n]...)
	for len(c.in) >= 2 {
		end := 2 + int(binary.BigEndian.Uint16(c.in))
		if len(c.in) < end {
			break
		}
		c.response(c.in[2:end])
		c.in = c.in[end:]
	}
	return n, err
}

func (c *stream) SetDeadline(t time.Time) error { return c.Conn.SetDeadline(sooner(t, c.attempt)) }

// sooner is t, or the end of an attempt that begins now if that is before.
func sooner(t time.Time, attempt time.Duration) time.Time {
	if end := time.Now().Add(attempt); t.IsZero() || end.Before(t) {
		return end
	}
	return t
}
