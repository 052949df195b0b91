package harness

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
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

// Receive reads a stream of n bytes, and reports the first error or difference.
func Receive(r io.Reader, seed uint64, n int64) error {
	want, got := sha256.New(), sha256.New()
	have, err := io.CopyBuffer(onlyWriter{got}, io.LimitReader(r, n), make([]byte, 64<<10))
	if err != nil {
		return fmt.Errorf("receive byte %d of %d: %w", have, n, err)
	}
	if have < n {
		return fmt.Errorf("receive: the stream ends after %d bytes of %d", have, n)
	}
	if _, err := io.Copy(want, Stream(seed, n)); err != nil {
		return err
	}
	return sameHash(want, got)
}

func sameHash(want, got hash.Hash) error {
	if !bytes.Equal(want.Sum(nil), got.Sum(nil)) {
		return errors.New("the bytes received are not those sent")
	}
	return nil
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
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return nil
	case err == nil:
		return errors.New("expected a reset, got the end of the stream")
	}
	return fmt.Errorf("expected a reset, got %w", err)
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
