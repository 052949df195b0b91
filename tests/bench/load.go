package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice/tests/harness"
)

// measured is what one client has seen.
type measured struct {
	Seconds   float64
	Bytes     uint64  // by bulk flows, both directions
	Exchanges uint64  // by ping-pong flows
	P50       float64 // of an exchange, in microseconds
	P99       float64
	P999      float64
}

// run loads a contender.
func (o order) run() (measured, error) {
	if o.Workload.Kind == "handshake" {
		return o.handshakes()
	}
	hello := harness.Hello(o.Name, 0)
	if err := verify(o.Addr, hello); err != nil {
		return measured{}, fmt.Errorf("it does not carry bytes as they are: %w", err)
	}
	l := &load{order: o, hello: hello, from: make(chan struct{})}
	for i := range o.Workload.Flows {
		if err := l.add(i); err != nil {
			return measured{}, err
		}
	}
	return l.measure()
}

// verify sends some MB there and back, and compares them.
func verify(addr string, hello []byte) error {
	const size = 2 << 20
	w, err := open(addr, hello, command{opHash, size})
	if err != nil {
		return err
	}
	defer w.close()
	sent := make([]byte, size)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(sent)
	if err := w.write(sent); err != nil {
		return err
	}
	var sum [sha256.Size]byte
	if _, err := io.ReadFull(w, sum[:]); err != nil {
		return err
	}
	if sum != sha256.Sum256(sent) {
		return errors.New("the server had other bytes than were sent")
	}
	back := make([]byte, size)
	if _, err := io.ReadFull(w, back); err != nil {
		return err
	}
	if !bytes.Equal(back, sent) {
		return errors.New("other bytes came back than the server had sent")
	}
	return nil
}

// load is all flows of a measurement.
type load struct {
	order
	hello []byte
	from  chan struct{} // closed when it begins
	over  atomic.Bool
	wg    sync.WaitGroup

	mu    sync.Mutex
	out   measured
	times []int64 // of exchanges, in ns
	err   error
}

// add opens a flow and has it wait for the beginning.
func (l *load) add(i int) error {
	bulk := l.Workload.Kind == "mixed" && i < bulkOfMixed
	switch {
	case l.Workload.Kind == "bulk" || bulk:
		return l.start(command{op: opSink}, l.bulk)
	case l.Workload.Kind == "both":
		return l.start(command{op: opBoth}, l.both)
	case l.Workload.Flows > threads:
		return l.startMany()
	default:
		return l.start(command{opEcho, uint32(l.Workload.Size)}, func(w *wire) error { return l.pingPong(w) })
	}
}

// threads is how many flows may have a thread of their own.
const threads = 64

// startMany opens a flow that shares threads with others.
func (l *load) startMany() error {
	conn, err := net.DialTimeout("tcp", l.Addr, patience)
	if err != nil {
		return err
	}
	_ = conn.SetDeadline(time.Now().Add(l.Time + 2*patience))
	if _, err := conn.Write(append(bytes.Clone(l.hello), command{opMany, uint32(l.Workload.Size)}.bytes()...)); err != nil {
		return err
	}
	l.wg.Go(func() {
		defer conn.Close()
		<-l.from
		if err := l.pingPong(conn); err != nil {
			l.fail(err)
		}
	})
	return nil
}

func (l *load) start(c command, run func(*wire) error) error {
	w, err := open(l.Addr, l.hello, c)
	if err != nil {
		return err
	}
	l.wg.Go(func() {
		defer w.close()
		<-l.from
		if err := run(w); err != nil {
			l.fail(err)
		}
	})
	return nil
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = errors.Join(l.err, err)
}

func (l *load) measure() (measured, error) {
	begun := time.Now()
	close(l.from)
	time.AfterFunc(l.Time, func() { l.over.Store(true) })
	l.wg.Wait()
	l.out.Seconds = time.Since(begun).Seconds()
	slices.Sort(l.times)
	l.out.Exchanges = uint64(len(l.times))
	l.out.P50, l.out.P99, l.out.P999 = quantile(l.times, .5), quantile(l.times, .99), quantile(l.times, .999)
	return l.out, l.err
}

// quantile is of sorted times, in microseconds.
func quantile(sorted []int64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]) / 1000
}

func (l *load) count(n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out.Bytes += n
}

// bulk sends until the time is over, and counts what the server says has come.
func (l *load) bulk(w *wire) error {
	b := make([]byte, piece)
	for !l.over.Load() {
		if err := w.write(b); err != nil {
			return err
		}
	}
	w.closeWrite()
	var n [8]byte
	if _, err := io.ReadFull(w, n[:]); err != nil {
		return fmt.Errorf("read the server's count: %w", err)
	}
	l.count(binary.BigEndian.Uint64(n[:]))
	return nil
}

// both sends and receives until the time is over, and counts what it was sent, and
// what it could send.
func (l *load) both(w *wire) error {
	sent := make(chan uint64, 1)
	go func() {
		n, b := uint64(0), make([]byte, piece)
		for !l.over.Load() && w.write(b) == nil {
			n += piece
		}
		w.closeWrite()
		sent <- n
	}()
	var got uint64
	for {
		n, err := w.discard(piece)
		if err != nil {
			break
		}
		got += uint64(n)
	}
	l.count(got + <-sent)
	return nil
}

func (l *load) pingPong(w io.ReadWriter) error {
	b := make([]byte, l.Workload.Size)
	times := make([]int64, 0, 1<<10)
	for !l.over.Load() {
		begun := time.Now()
		if _, err := w.Write(b); err != nil {
			return err
		}
		if _, err := io.ReadFull(w, b); err != nil {
			return err
		}
		times = append(times, time.Since(begun).Nanoseconds())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.times = append(l.times, times...)
	return nil
}
