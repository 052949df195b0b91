package sockmap

import (
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
	"sluice/userspace/slot"
	"sluice/userspace/sockmap"
)

// quiet waits until no byte has moved for a while: until a sender has filled all
// that there is on the way to a reader that does not read.
func quiet(t testing.TB, moved func() uint64) {
	t.Helper()
	last, since := moved(), time.Now()
	for start := time.Now(); time.Since(since) < 500*time.Millisecond; time.Sleep(10 * time.Millisecond) {
		if now := moved(); now != last {
			last, since = now, time.Now()
		}
		if time.Since(start) > patience {
			t.Fatal("bytes move without end")
		}
	}
}

// taken is how many bytes a flow has taken from its client.
func taken(f *testFlow) uint64 {
	down, _ := f.ways()
	return down.Redirected.Load() + down.Passed.Load()
}

// TestStalledReader is fact 1: the kernel itself would queue without limit.
func TestStalledReader(t *testing.T) {
	for _, credit := range []uint32{64 << 10, 1 << 20} {
		t.Run(fmt.Sprint(credit), func(t *testing.T) {
			const n = 64 << 20
			r := newRig(t, options{config: sockmap.Config{Credit: credit}, buffer: 256 << 10})
			f := r.carry()
			sent := make(chan error, 1)
			go func() { sent <- transmit(f.client, newSource(1), n, 100_000) }()
			quiet(t, func() uint64 { return taken(f) })
			down, _ := f.ways()
			t.Logf("redirected %d, passed %d, drained %d", down.Redirected.Load(), down.Passed.Load(), down.Drained.Load())
			// What the receiver has in its buffers is not under the credit.
			if got := down.Redirected.Load(); got > uint64(credit)+(2<<20) {
				t.Errorf("redirected %d bytes to a reader that stopped, with a credit of %d", got, credit)
			}
			if r.count(slot.Credit)+r.count(slot.NoRoom) == 0 {
				t.Error("the credit was never used up")
			}
			// The other direction does not care.
			parallel(t,
				func() error { return transmit(f.server, newSource(2), 100_000, 1000) },
				func() error { return expect(f.client, newSource(2), 100_000) })
			if err := expect(f.server, newSource(1), n); err != nil {
				t.Error(err)
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
			t.Logf("redirected %d, passed %d, drained %d", down.Redirected.Load(), down.Passed.Load(), down.Drained.Load())
			// And the kernel moves bytes again.
			before := down.Redirected.Load()
			eventually(t, "redirects", func() bool {
				parallel(t,
					func() error { return transmit(f.client, newSource(3), 1000, 1000) },
					func() error { return expect(f.server, newSource(3), 1000) })
				return down.Redirected.Load() > before
			})
			f.client.Close()
			if err := expectEnd(f.server, newSource(0), 0); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestEndOfAStalledStream ends a stream whose reader has stopped.
func TestEndOfAStalledStream(t *testing.T) {
	const n = 16 << 20
	r := newRig(t, options{config: sockmap.Config{Credit: 256 << 10}, buffer: 128 << 10})
	f := r.carry()
	sent := make(chan error, 1)
	go func() {
		err := transmit(f.client, newSource(1), n, 100_000)
		if err == nil {
			err = f.client.CloseWrite()
		}
		sent <- err
	}()
	quiet(t, func() uint64 { return taken(f) })
	if err := expectEnd(f.server, newSource(1), n); err != nil {
		t.Error(err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	f.server.Close()
	f.wantEnd(result{flow.Closed, "by downstream"}, n, 0)
}

// TestStalledBothWays has an answer that nobody reads before the upload is over, and
// a server that reads all the time: the upload must not wait for the answer.
func TestStalledBothWays(t *testing.T) {
	for _, credit := range []uint32{64 << 10, 1 << 20} {
		t.Run(fmt.Sprint(credit), func(t *testing.T) {
			const n = 64 << 20
			r := newRig(t, options{config: sockmap.Config{Credit: credit}, buffer: 128 << 10})
			f := r.connect()
			// The system's would have room for it all.
			setBuffers(t, f.down, 64<<10)
			f.start()
			answered := make(chan error, 1)
			go func() { answered <- transmit(f.server, newSource(2), n, 100_000) }()
			_, up := f.ways()
			quiet(t, func() uint64 { return up.Redirected.Load() + up.Passed.Load() })
			// Slow enough for the upload's credit to be used up too.
			slowly := func() error {
				src := newSource(1)
				for range n / (1 << 20) {
					time.Sleep(time.Millisecond)
					if err := expect(f.server, src, 1<<20); err != nil {
						return err
					}
				}
				return nil
			}
			parallel(t,
				func() error { return transmit(f.client, newSource(1), n, 100_000) },
				slowly)
			down, _ := f.ways()
			t.Logf("upload: redirected %d, passed %d", down.Redirected.Load(), down.Passed.Load())
			if err := expect(f.client, newSource(2), n); err != nil {
				t.Error(err)
			}
			if err := <-answered; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestManyStalledReaders bounds the memory of the host.
func TestManyStalledReaders(t *testing.T) {
	const (
		flows  = 100
		n      = 4 << 20 // far more than credit and buffers have room for
		credit = 128 << 10
		buffer = 128 << 10
	)
	r := newRig(t, options{config: sockmap.Config{Credit: credit}, buffer: buffer})
	before := available(t)
	all := make([]*testFlow, flows)
	for i := range all {
		all[i] = r.connect()
		setBuffers(t, all[i].down, buffer) // the system would let it grow
		all[i].start()
	}
	sent := make(chan error, flows)
	for i, f := range all {
		go func() { sent <- transmit(f.client, newSource(byte(i)), n, 64<<10) }()
	}
	quiet(t, func() uint64 {
		total := uint64(0)
		for _, f := range all {
			total += taken(f)
		}
		return total
	})
	most := int64(0)
	for _, f := range all {
		most += credit + f.buffers(t)
	}
	// Others use memory as well, but not all the time.
	used := int64(0)
	eventually(t, fmt.Sprintf("%d stalled flows to take less than %d MiB", flows, most>>20), func() bool {
		used = before - available(t)
		return used <= most
	})
	t.Logf("%d stalled flows take %d KiB each, and may take %d KiB", flows, used/flows>>10, most/flows>>10)
	for _, f := range all {
		if got := taken(f); got > n/2 {
			t.Errorf("%d bytes of %d are on their way to a reader that stopped", got, n)
		}
	}
	received := make(chan error, flows)
	for i, f := range all {
		go func(c net.Conn) { received <- expect(c, newSource(byte(i)), n) }(f.server)
	}
	for range all {
		for _, c := range []chan error{sent, received} {
			if err := <-c; err != nil {
				t.Error(err)
			}
		}
	}
}

// buffers is how much memory the flow's sockets may use on its way from the client
// to the server.
func (f *testFlow) buffers(t testing.TB) int64 {
	t.Helper()
	sum := 0
	add := func(fd, name int) error {
		n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, name)
		sum += n
		return err
	}
	control(t, f.client, func(fd int) error { return add(fd, unix.SO_SNDBUF) })
	control(t, f.server, func(fd int) error { return add(fd, unix.SO_RCVBUF) })
	if err := errors.Join(add(f.down, unix.SO_RCVBUF), add(f.up, unix.SO_SNDBUF)); err != nil {
		t.Fatal(err)
	}
	return int64(sum)
}

// available is the host's memory that is free, or this process's own, in bytes: what
// is left is the kernel's and other processes'.
func available(t testing.TB) int64 {
	t.Helper()
	return kibibytes(t, "/proc/meminfo", "MemAvailable") + kibibytes(t, "/proc/self/status", "VmRSS")
}

// kibibytes reads a line such as "VmRSS:   123 kB", and returns bytes.
func kibibytes(t testing.TB, file, name string) int64 {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + name + `:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		t.Fatalf("no %s in %s", name, file)
	}
	n, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}
