package sockmap

import (
	"errors"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"sluice/userspace/slot"
)

// fakeKernel remembers what it is told.
type fakeKernel struct {
	mu       sync.Mutex
	ways     []slot.Way
	bound    map[uint64]uint32
	policies []slot.Policy
	fail     error // of whatever is next
}

func newFake(flows, policies int) *fakeKernel {
	return &fakeKernel{
		ways: make([]slot.Way, 2*flows), bound: map[uint64]uint32{}, policies: make([]slot.Policy, policies),
	}
}

func (k *fakeKernel) Ways() []slot.Way { return k.ways }
func (k *fakeKernel) Policies() int    { return len(k.policies) }

func (k *fakeKernel) Bind(cookie uint64, way uint32) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return k.fail
	}
	k.bound[cookie] = way
	return nil
}

func (k *fakeKernel) Unbind(cookie uint64) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.bound, cookie)
	return nil
}

func (k *fakeKernel) Insert(uint64, int) error { return k.fail }

func (k *fakeKernel) SetPolicy(i uint32, p slot.Policy) error {
	if k.fail == nil {
		k.policies[i] = p
	}
	return k.fail
}

func (k *fakeKernel) Counters() (n [slot.Reasons]uint64, err error) { return n, k.fail }

func (k *fakeKernel) Events(int) (slot.Source, error) {
	if k.fail != nil {
		return nil, k.fail
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	return &fakeEvents{fd: fd}, err
}

// fakeEvents has no events, or an error.
type fakeEvents struct {
	fd  int
	err error
}

func (e *fakeEvents) FD() int                         { return e.fd }
func (e *fakeEvents) Next() (slot.Event, bool, error) { return slot.Event{}, false, e.err }
func (e *fakeEvents) Close() error                    { return os.NewSyscallError("close", unix.Close(e.fd)) }

var errFake = errors.New("fake")

func newEngine(t *testing.T, k Kernel) *Engine {
	t.Helper()
	e, err := New(k, Config{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}
