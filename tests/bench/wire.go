package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// A connection begins with a ClientHello, by which it is routed, in one TLS record.
// After it comes a command, and what follows goes by that.

// op is what the server is to do.
type op uint32

const (
	opSink   op = iota // read until the end, and tell how many bytes have come when no more do
	opSource           // write until the client closes
	opBoth             // both at once
	opEcho             // send back pieces of the size given
	opHash             // read size bytes, answer with as many: their hash counts
	opMany             // as opEcho, for one of many flows
)

// command is what the client wants, 8 bytes on the wire.
type command struct {
	op   op
	size uint32
}

func (c command) bytes() []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(c.op))
	return binary.BigEndian.AppendUint32(b, c.size)
}

// readCommand reads the hello and the command after it.
func readCommand(r io.Reader) (command, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return command{}, fmt.Errorf("read the hello's record: %w", err)
	}
	if _, err := io.CopyN(io.Discard, r, int64(binary.BigEndian.Uint16(head[3:]))); err != nil {
		return command{}, fmt.Errorf("read the hello: %w", err)
	}
	var b [8]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return command{}, fmt.Errorf("read the command: %w", err)
	}
	return command{op(binary.BigEndian.Uint32(b[:])), binary.BigEndian.Uint32(b[4:])}, nil
}

// wire is a blocking TCP socket: for measuring, system calls of threads of their own
// add less of their own than Go's poller does.
type wire struct{ fd int }

// patience is how long a read or write may take before something is wrong.
const patience = 10 * time.Second

// open connects to a contender, and sends the hello and a command.
func open(addr string, hello []byte, c command) (*wire, error) {
	conn, err := (&net.Dialer{Timeout: patience}).Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	w, err := take(conn.(*net.TCPConn))
	if err != nil {
		return nil, err
	}
	return w, w.write(append(append([]byte{}, hello...), c.bytes()...))
}

// take makes a wire of a connection.
func take(conn *net.TCPConn) (*wire, error) {
	defer conn.Close()
	f, err := conn.File()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fd, err := unix.Dup(int(f.Fd())) // File and Fd have made it blocking
	if err != nil {
		return nil, err
	}
	w := &wire{fd}
	for _, o := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := w.timeout(o, patience); err != nil {
			unix.Close(fd)
			return nil, err
		}
	}
	return w, nil
}

// timeout sets how long a read (SO_RCVTIMEO) or write (SO_SNDTIMEO) may take.
func (w *wire) timeout(option int, d time.Duration) error {
	t := unix.NsecToTimeval(d.Nanoseconds())
	return unix.SetsockoptTimeval(w.fd, unix.SOL_SOCKET, option, &t)
}

// Close is io.Closer's.
func (w *wire) Close() error { return unix.Close(w.fd) }

func (w *wire) closeWrite() { _ = unix.Shutdown(w.fd, unix.SHUT_WR) }

// Write is io.Writer's.
func (w *wire) Write(b []byte) (int, error) {
	for done := 0; done < len(b); {
		n, err := unix.Write(w.fd, b[done:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, fmt.Errorf("write: %w", err)
		}
		done += n
	}
	return len(b), nil
}

func (w *wire) write(b []byte) error {
	_, err := w.Write(b)
	return err
}

// Read is io.Reader's.
func (w *wire) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(w.fd, b)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, fmt.Errorf("read: %w", err)
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// discard reads without taking the bytes out of the kernel, and returns how many.
func (w *wire) discard(most int) (int, error) {
	for {
		n, _, err := unix.Recvfrom(w.fd, discarded[:most], unix.MSG_TRUNC)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, fmt.Errorf("read: %w", err)
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// discarded is never written to: MSG_TRUNC drops what TCP has.
var discarded = make([]byte, piece)

// piece is how much a bulk sender writes at once.
const piece = 256 << 10
