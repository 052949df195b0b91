package sockmap

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/loader"
	"sluice/userspace/flow"
	"sluice/userspace/slot"
	"sluice/userspace/sockmap"
)

// TestMissingBytes has the program find that bytes are missing: both sides must
// see a reset, and new flows go elsewhere after a few of those.
func TestMissingBytes(t *testing.T) {
	r := newRig(t, options{config: sockmap.Config{FailLimit: 2}})
	for i := range 2 {
		f := r.carry()
		f.wantWorks("sockmap")
		if r.engine.Off() != "" {
			t.Fatalf("off after %d failures: %s", i, r.engine.Off())
		}
		down, _ := f.ways()
		down.Next.Add(^uint32(99)) // as if 100 bytes had never come
		if _, err := f.client.Write(make([]byte, 1000)); err != nil {
			t.Error(err)
		}
		wantReset(t, f.server)
		wantReset(t, f.client)
		if got := f.wait(); got.end != flow.PathError || !strings.Contains(got.detail, "missing") {
			t.Errorf("the flow ends as %v %q", got.end, got.detail)
		}
	}
	if r.count(slot.Gap) != 2 || r.engine.Broken() != 2 || !strings.Contains(r.engine.Off(), "2 flows had to be reset") {
		t.Errorf("%d gaps, %d flows broken, off because of %q", r.count(slot.Gap), r.engine.Broken(), r.engine.Off())
	}
	var f flow.Flow
	r.do(func() {
		if r.path.Admit(&f) == nil {
			t.Error("still admits flows")
		}
	})
}

// TestStreamTooShort has an end come while the kernel keeps a byte back, as far as
// the counters tell: the end must not be passed on, ever, and in the end the flow
// is reset.
func TestStreamTooShort(t *testing.T) {
	r := newRig(t, options{config: sockmap.Config{StallTimeout: 100 * time.Millisecond}})
	f := r.carry()
	f.wantWorks("sockmap")
	down, _ := f.ways()
	down.Redirected.Add(1)
	if err := f.client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	wantReset(t, f.server)
	if got := f.wait(); got.end != flow.PathError || got.detail != "the kernel kept 1 bytes for the upstream" {
		t.Errorf("the flow ends as %v %q", got.end, got.detail)
	}
}

// TestStreamTooLong is the opposite: more bytes than there should be.
func TestStreamTooLong(t *testing.T) {
	r := newRig(t, options{})
	f := r.carry()
	f.wantWorks("sockmap")
	if _, err := unix.Write(f.up, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := f.client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(f.server); string(got) != "x" || !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the server reads %q, %v; want a reset", got, err)
	}
	if got := f.wait(); got.end != flow.PathError || !strings.Contains(got.detail, "is owed") {
		t.Errorf("the flow ends as %v %q", got.end, got.detail)
	}
}

// TestDeaf has the ring of events fail: flows that are under way go on, and new ones
// go elsewhere.
func TestDeaf(t *testing.T) {
	k := &deafKernel{}
	r := newRig(t, options{
		config: sockmap.Config{Credit: 64 << 10}, buffer: 64 << 10,
		kernel: func(d *loader.Datapath) kernel { k.Datapath = d; return k },
	})
	f := r.carry()
	f.wantWorks("sockmap")
	k.deaf.Store(true)
	const n = 16 << 20
	sent := make(chan error, 1)
	go func() { sent <- transmit(f.client, newSource(3), n, 100_000) }()
	eventually(t, "the path to notice", func() bool { return r.engine.Off() != "" })
	if err := expect(f.server, newSource(3), n); err != nil {
		t.Error(err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// deafKernel has events that cannot be read, once it is deaf.
type deafKernel struct {
	*loader.Datapath
	deaf atomic.Bool
}

func (k *deafKernel) Events(worker int) (slot.Source, error) {
	s, err := k.Datapath.Events(worker)
	return deafSource{s, k}, err
}

type deafSource struct {
	slot.Source
	k *deafKernel
}

func (s deafSource) Next() (slot.Event, bool, error) {
	if s.k.deaf.Load() {
		return slot.Event{}, false, errors.New("deaf")
	}
	return s.Source.Next()
}

// TestActive looks at the time of the last byte.
func TestActive(t *testing.T) {
	r := newRig(t, options{})
	f := r.carry()
	f.wantWorks("sockmap")
	idle := func() (d time.Duration) {
		r.do(func() { d = r.loop.Now() - f.c.Active() })
		return d
	}
	eventually(t, "the flow to be idle", func() bool { return idle() > 100*time.Millisecond })
	// A byte that wakes nobody.
	parallel(t,
		func() error { return transmit(f.client, newSource(3), 1, 1) },
		func() error { return expect(f.server, newSource(3), 1) })
	eventually(t, "the flow to be active", func() bool {
		parallel(t,
			func() error { return transmit(f.client, newSource(3), 1, 1) },
			func() error { return expect(f.server, newSource(3), 1) })
		return idle() < 100*time.Millisecond
	})
}

// TestTally asks a flow that is under way for its bytes.
func TestTally(t *testing.T) {
	r := newRig(t, options{})
	f := r.carry()
	f.wantWorks("sockmap")
	for range 2 {
		r.do(f.c.Tally)
		if s, rcv := f.flow.Sent.Load(), f.flow.Received.Load(); s != 200_000 || rcv != 200_000 {
			t.Errorf("%d bytes sent and %d received so far", s, rcv)
		}
	}
}

// TestNoWakeUps is fact 6: the loop sleeps while the kernel moves bytes.
func TestNoWakeUps(t *testing.T) {
	const n = 2000
	r := newRig(t, options{})
	f := r.carry()
	f.pingPong(t, 10)
	before := r.sleeps(t)
	f.pingPong(t, n)
	if got := r.sleeps(t) - before; got > n/10 {
		t.Errorf("the loop was woken %d times by %d messages each way", got, n)
	}
}

// pingPong sends n small messages each way, one after the other.
func (f *testFlow) pingPong(t testing.TB, n int) {
	t.Helper()
	b := make([]byte, 128)
	for range n {
		for _, way := range [2][2]net.Conn{{f.client, f.server}, {f.server, f.client}} {
			if _, err := way[0].Write(b); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(way[1], b); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// sleeps is how often the thread of the loop has gone to sleep so far.
func (r *rig) sleeps(t testing.TB) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/status", r.thread.Load()))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^voluntary_ctxt_switches:\s+(\d+)`).FindSubmatch(status)
	if m == nil {
		t.Fatal("no count of context switches")
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
