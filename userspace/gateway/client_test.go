package gateway

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/sni"
)

// client is a connection to the gateway.
type client struct {
	*net.TCPConn
	t *testing.T
}

// dial connects to the first address of the gateway.
func (r *rig) dial() *client {
	r.t.Helper()
	return dialFrom(r.t, netip.AddrPort{}, r.Addrs()[0])
}

// open connects and sends b.
func (r *rig) open(b []byte) *client {
	r.t.Helper()
	c := r.dial()
	c.send(b)
	return c
}

// dialFrom connects from an address, or any if it is the zero one.
func dialFrom(t *testing.T, from, to netip.AddrPort) *client {
	t.Helper()
	d := net.Dialer{Timeout: patience}
	d.SetMultipathTCP(false)
	if from.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(from)
	}
	c, err := d.DialContext(t.Context(), "tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return &client{c.(*net.TCPConn), t}
}

// send may be called beside the test.
func (c *client) send(b []byte) {
	c.t.Helper()
	if _, err := c.Write(b); err != nil {
		c.t.Error(err)
	}
}

// bytewise sends b in segments of one byte.
func (c *client) bytewise(b []byte) {
	c.t.Helper()
	for i := 0; i < len(b) && !c.t.Failed(); i++ {
		c.send(b[i : i+1])
	}
}

// expect reads as much as want has, and compares.
func (c *client) expect(want []byte) {
	c.t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil {
		c.t.Fatalf("read %d bytes: %v", len(want), err)
	}
	if !bytes.Equal(got, want) {
		c.t.Fatalf("read %q, want %q", got, want)
	}
}

// rest reads to the end, and tells whether that is a reset.
func (c *client) rest() (b []byte, reset bool) {
	c.t.Helper()
	b, err := io.ReadAll(c)
	if err != nil && !errors.Is(err, unix.ECONNRESET) {
		c.t.Fatalf("read to the end: %v", err)
	}
	return b, err != nil
}

// expectAlert checks that the alert is all that comes, and that an orderly end
// follows it.
func (c *client) expectAlert(code byte) {
	c.t.Helper()
	got, reset := c.rest()
	if want := sni.AppendAlert(nil, code); !bytes.Equal(got, want) || reset {
		c.t.Errorf("the client got % x (reset: %t), want % x and an end", got, reset, want)
	}
}

// expectCut checks that the connection is reset.
func (c *client) expectCut() {
	c.t.Helper()
	if _, reset := c.rest(); !reset {
		c.t.Error("the client got an orderly end, want a reset")
	}
}

// reset closes with a reset.
func (c *client) reset() {
	c.t.Helper()
	if err := errors.Join(c.SetLinger(0), c.Close()); err != nil {
		c.t.Fatal(err)
	}
}

// hello is what crypto/tls sends to a server of this name, in one record if it
// fits.
func hello(t *testing.T, name string, protocols ...string) []byte {
	t.Helper()
	near, far := net.Pipe()
	defer far.Close()
	go func() {
		defer near.Close()
		tls.Client(near, &tls.Config{
			ServerName: name, NextProtos: protocols, InsecureSkipVerify: true,
		}).Handshake()
	}()
	var records, message []byte
	for total := 4; len(message) < total; {
		head := make([]byte, 5)
		if _, err := io.ReadFull(far, head); err != nil {
			t.Fatal(err)
		}
		piece := make([]byte, binary.BigEndian.Uint16(head[3:]))
		if _, err := io.ReadFull(far, piece); err != nil {
			t.Fatal(err)
		}
		records = append(append(records, head...), piece...)
		message = append(message, piece...)
		total = 4 + int(message[1])<<16 + int(message[2])<<8 + int(message[3])
	}
	return records
}

// inRecords cuts a hello of one record into records of at most size bytes each.
func inRecords(hello []byte, size int) []byte {
	var b []byte
	for piece := range slices.Chunk(hello[5:], size) {
		b = append(b, hello[0], hello[1], hello[2], byte(len(piece)>>8), byte(len(piece)))
		b = append(b, piece...)
	}
	return b
}

// refusing is an address that refuses to be connected to: it is bound, so that
// nobody else gets it, but nobody listens.
func refusing(t *testing.T) netip.AddrPort {
	t.Helper()
	_, addr := bound(t)
	return addr
}

// hole is an address that does not answer: its queue of connections is full.
func hole(t *testing.T) netip.AddrPort {
	t.Helper()
	_, addr := holeOf(t)
	return addr
}

func holeOf(t *testing.T) (int, netip.AddrPort) {
	t.Helper()
	fd, addr := bound(t)
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		c, err := net.DialTimeout("tcp", addr.String(), 200*time.Millisecond)
		if err != nil {
			return fd, addr
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatal("a listener whose queue is full still answers")
	return fd, addr
}

func bound(t *testing.T) (int, netip.AddrPort) {
	t.Helper()
	fd, err := newSocket(loopback.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, sockaddr(loopback)); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fd, addrPort(sa)
}
