package harness

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// Stream is n pseudo-random bytes, the same for the same seed.
func Stream(seed uint64, n int64) io.Reader {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return io.LimitReader(rand.NewChaCha8(key), n)
}

// Send writes a stream in pieces of the given size.
func Send(w io.Writer, seed uint64, n int64, piece int) error {
	if _, err := io.CopyBuffer(onlyWriter{w}, Stream(seed, n), make([]byte, piece)); err != nil {
		return fmt.Errorf("send %d bytes: %w", n, err)
	}
	return nil
}

// onlyWriter hides a connection's ReadFrom, which would choose its own pieces.
type onlyWriter struct{ io.Writer }

// Endless is the length of a stream of which there is always more.
const Endless = math.MaxInt64

// SendUntil writes a stream until stop is closed, and returns how much of it.
func SendUntil(stop <-chan struct{}, w io.Writer, seed uint64) (int64, error) {
	stream, piece := Stream(seed, Endless), make([]byte, 64<<10)
	for sent := int64(0); ; sent += int64(len(piece)) {
		select {
		case <-stop:
			return sent, nil
		default:
		}
		if _, err := io.ReadFull(stream, piece); err != nil {
			return sent, err
		}
		if _, err := w.Write(piece); err != nil {
			return sent, fmt.Errorf("send past byte %d: %w", sent, err)
		}
	}
}

// Receive reads a stream of n bytes, and reports the first error or difference.
func Receive(r io.Reader, seed uint64, n int64) error {
	have, err := compare(io.LimitReader(r, n), Stream(seed, n))
	if err != nil {
		return fmt.Errorf("receive byte %d of %d: %w", have, n, err)
	}
	if have < n {
		return fmt.Errorf("receive: the stream ends after %d bytes of %d", have, n)
	}
	return nil
}

// ReceiveAll reads a stream to its end, however long, and returns its length.
func ReceiveAll(r io.Reader, seed uint64) (int64, error) {
	n, err := compare(r, Stream(seed, Endless))
	if err != nil {
		return n, fmt.Errorf("receive byte %d: %w", n, err)
	}
	return n, nil
}

var errDiffers = errors.New("it is not the one that was sent")

// compare reads got to its end, and returns how many of its bytes are want's, with
// the error that stopped it. Byte by byte, it tells more than sums would.
func compare(got, want io.Reader) (int64, error) {
	g, w := make([]byte, 64<<10), make([]byte, 64<<10)
	for same := int64(0); ; {
		n, err := got.Read(g)
		if _, err := io.ReadFull(want, w[:n]); err != nil {
			return same, fmt.Errorf("more than was sent: %w", err)
		}
		if !bytes.Equal(g[:n], w[:n]) {
			for i := 0; g[i] == w[i]; i++ {
				same++
			}
			return same, errDiffers
		}
		same += int64(n)
		if errors.Is(err, io.EOF) {
			return same, nil
		}
		if err != nil {
			return same, err
		}
	}
}

// End reads on and expects the orderly end of the stream.
func End(c io.Reader) error {
	n, err := io.Copy(io.Discard, c)
	if err != nil {
		return fmt.Errorf("expected the end of the stream, got %w", err)
	}
	if n > 0 {
		return fmt.Errorf("expected the end of the stream, got %d bytes more", n)
	}
	return nil
}

// Reset reads on, past what may come before it, and expects a reset.
func Reset(c net.Conn) error {
	_, err := io.Copy(io.Discard, c)
	switch {
	case IsCut(err):
		return nil
	case err == nil:
		return errors.New("expected a reset, got the end of the stream")
	}
	return fmt.Errorf("expected a reset, got %w", err)
}

// IsCut tells whether an error is that of a connection which was reset.
func IsCut(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// Abort closes with a reset.
func Abort(t testing.TB, c *net.TCPConn) {
	t.Helper()
	if err := c.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// Must ends the test on an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// All runs functions at the same time and ends the test on their errors.
func All(t testing.TB, fs ...func() error) {
	t.Helper()
	errs := make(chan error, len(fs))
	for _, f := range fs {
		go func() { errs <- f() }()
	}
	var all []error
	for range fs {
		all = append(all, <-errs)
	}
	if err := errors.Join(all...); err != nil {
		t.Fatal(err)
	}
}

// Limit gives a connection until then for all that is done with it.
func Limit(t testing.TB, c net.Conn, d time.Duration) {
	t.Helper()
	Must(t, c.SetDeadline(time.Now().Add(d)))
}

// Quiet expects that nothing comes for a while: no byte, no end, no reset.
func Quiet(c net.Conn, d time.Duration) error {
	if err := c.SetReadDeadline(time.Now().Add(d)); err != nil {
		return err
	}
	n, err := c.Read(make([]byte, 1))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("expected silence, got %d bytes and %v", n, err)
	}
	return c.SetReadDeadline(time.Now().Add(Patience))
}

// ReceiveBytes reads what must come next.
func ReceiveBytes(r io.Reader, want []byte) error {
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil {
		return fmt.Errorf("receive %d bytes: %w", len(want), err)
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("received %d bytes that are not the ones to come", len(got))
	}
	return nil
}
