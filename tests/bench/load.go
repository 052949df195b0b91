package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice/tests/bench/figure"
	"sluice/tests/harness"
)

// order is what the client's process is told to do.
type order struct {
	Addr     string // of the contender
	Name     string // server name
	Workload workload
	Time     time.Duration
	PIDs     []string // the contender's, whose work is measured
}

// run loads a contender.
func (o order) run() (figure.Measured, error) {
	if o.Workload.Kind == figure.Handshake {
		return o.handshakes()
	}
	hello := harness.Hello(o.Name, 0)
	if err := verify(o.Addr, hello); err != nil {
		return figure.Measured{}, fmt.Errorf("it does not carry bytes as they are: %w", err)
	}
	l := &load{order: o, hello: hello, from: make(chan struct{})}
	if err := l.open(); err != nil {
		return figure.Measured{}, err
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
	defer w.Close()
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
	ready sync.WaitGroup // flows that have not had their first exchange yet
	from  chan struct{}  // closed when it begins
	over  atomic.Bool
	wg    sync.WaitGroup

	mu    sync.Mutex
	bytes uint64
	times []int64 // of exchanges, in ns
	last  time.Time
	err   error
}

// bulkOfMixed is how many of the mixed workload's flows are bulk.
const bulkOfMixed = 4

// open opens all flows and has them wait for the beginning.
func (l *load) open() error {
	w := l.Workload
	switch w.Kind {
	case figure.Bulk:
		return l.start(w.Flows, command{op: opSink}, l.bulk)
	case figure.Both:
		return l.start(w.Flows, command{op: opBoth}, l.both)
	case figure.Mixed:
		if err := l.start(bulkOfMixed, command{op: opSink}, l.bulk); err != nil {
			return err
		}
		return l.startTalks(w.Flows - bulkOfMixed)
	}
	// A thread's blocking calls add the least of their own. But local acceleration is for
	// processes that do not block.
	if w.Flows > 1 || isLocal(w) {
		return l.startTalks(w.Flows)
	}
	return l.start(1, command{opEcho, uint32(w.Size)}, l.pingPong)
}

// start opens flows that have a thread each, and run on it. Each calls begin.
func (l *load) start(flows int, c command, run func(*wire) error) error {
	for range flows {
		w, err := open(l.Addr, l.hello, c)
		if err != nil {
			return err
		}
		l.ready.Add(1)
		l.wg.Go(func() {
			defer w.Close()
			l.fail(run(w))
		})
	}
	return nil
}

// fail keeps an error, if it is one.
func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = errors.Join(l.err, err)
}

// begin tells that a flow is ready, and waits for the others.
func (l *load) begin() {
	l.ready.Done()
	<-l.from
}

func (l *load) measure() (figure.Measured, error) {
	l.ready.Wait()
	work, err := startMeter(l.PIDs)
	if err != nil {
		return figure.Measured{}, err
	}
	begun := time.Now()
	close(l.from)
	time.AfterFunc(l.Time, func() { l.over.Store(true) })
	l.wg.Wait()
	var got figure.Measured
	l.err = errors.Join(l.err, work.stop(&got))
	slices.Sort(l.times)
	got.Seconds, got.Bytes = l.last.Sub(begun).Seconds(), l.bytes
	got.Exchanges, got.Exchange = uint64(len(l.times)), figure.Quantiles(l.times)
	return got, l.err
}

// count adds what a flow did until then.
func (l *load) count(until time.Time, bytes uint64, times []int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bytes += bytes
	l.times = append(l.times, times...)
	if until.After(l.last) {
		l.last = until
	}
}

// bulk sends until the time is over, and then waits for the server to have all of it.
func (l *load) bulk(w *wire) error {
	l.begin()
	b := make([]byte, piece)
	var sent uint64
	for !l.over.Load() {
		if err := w.write(b); err != nil {
			return err
		}
		sent += piece
	}
	for got := uint64(0); got != sent; {
		var n [8]byte
		if _, err := io.ReadFull(w, n[:]); err != nil {
			return fmt.Errorf("wait for the server to have %d bytes, when it told of %d: %w", sent, got, err)
		}
		got = binary.BigEndian.Uint64(n[:])
	}
	l.count(time.Now().Add(-quiet), sent, nil)
	return nil
}

// both sends and receives until the time is over, and counts what it was sent, and
// what it could send.
func (l *load) both(w *wire) error {
	l.begin()
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
	until := time.Now()
	n := <-sent
	if !l.over.Load() {
		return errors.New("the connection ended before its time")
	}
	l.count(until, got+n, nil)
	return nil
}

// pingPong has its first exchange before the beginning: until then a proxy may still
// be dialling.
func (l *load) pingPong(c *wire) error {
	b := make([]byte, l.Workload.Size)
	if err := exchange(c, b); err != nil {
		l.begin()
		return err
	}
	l.begin()
	times := make([]int64, 0, 1<<10)
	for !l.over.Load() {
		begun := time.Now()
		if err := exchange(c, b); err != nil {
			return err
		}
		times = append(times, time.Since(begun).Nanoseconds())
	}
	l.count(time.Now(), 0, times)
	return nil
}

func exchange(c *wire, b []byte) error {
	if _, err := c.Write(b); err != nil {
		return err
	}
	_, err := io.ReadFull(c, b)
	return err
}
