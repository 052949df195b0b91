package local

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"sluice/userspace/poll"
	"sluice/userspace/slot"
)

// Kernel is the programs in the kernel with their maps. Its methods are called by all
// workers at the same time.
type Kernel interface {
	// Ways is the memory shared with the program, two ways for each flow.
	Ways() []slot.Local
	// Insert makes one of the gateway's sockets known. Its errors unwrap to the kernel's.
	Insert(cookie uint64, fd int) error
	// Find tells whether the other end of a connection is in this network namespace.
	Find(own, other netip.AddrPort) (bool, error)
	// Enrol has what the other end sends go to target, as the way allows. Near is the
	// cookie of our own end, all of whose bytes so far were sent on if they were read.
	Enrol(own, other netip.AddrPort, near, target uint64, way uint32) (slot.Enrolled, error)
	// Unread tells whether bytes wait in the own queue of a receiver, given the cookie of
	// our end of the sender's connection.
	Unread(near uint64) (bool, error)
	// Messages counts what became of the senders' messages.
	Messages() ([slot.Messages]uint64, error)
}

// Engine is what the paths of all workers share.
type Engine struct {
	kernel Kernel
	ways   []slot.Local

	off    atomic.Pointer[string] // why new flows go elsewhere; nil when they do not
	fallen [reasons]atomic.Uint64 // flows that went to the next path, by reason
	credit atomic.Uint64          // of each way, for the receiver's own queue

	mu   sync.Mutex
	free []uint32 // pairs of ways
}

// New makes the engine, with the whole of a kernel's ways free.
func New(k Kernel) *Engine {
	e := &Engine{kernel: k, ways: k.Ways()}
	for pair := len(e.ways) / 2; pair > 0; pair-- {
		e.free = append(e.free, uint32(pair-1))
	}
	return e
}

// Deliver has messages of new flows put into the receivers' own queues, where both peers
// are here. At most credit bytes may wait in each.
func (e *Engine) Deliver(credit uint32) { e.credit.Store(uint64(credit)) }

// Path makes the path of one worker, before the one that its other flows take.
func (e *Engine) Path(loop *poll.Loop, splice Splice, next Next) *Path {
	return &Path{engine: e, loop: loop, splice: splice, next: next}
}

// SwitchOff sends new flows elsewhere, for the reason given. Those that are under way
// go on.
func (e *Engine) SwitchOff(why string) { e.off.CompareAndSwap(nil, &why) }

// Off tells why new flows go elsewhere, and "" when they do not.
func (e *Engine) Off() string {
	if why := e.off.Load(); why != nil {
		return *why
	}
	return ""
}

// Fallen counts the flows that the path could not take, by reason.
func (e *Engine) Fallen() map[string]uint64 {
	all := make(map[string]uint64, reasons)
	for r := taken + 1; r < reasons; r++ {
		all[reasonNames[r]] = e.fallen[r].Load()
	}
	return all
}

// Idle is how many more flows there is room for.
func (e *Engine) Idle() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.free)
}

// take lends a pair of ways.
func (e *Engine) take() (pair uint32, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	last := len(e.free) - 1
	if last < 0 {
		return 0, false
	}
	pair = e.free[last]
	e.free = e.free[:last]
	return pair, true
}

// give takes a pair back.
func (e *Engine) give(pair uint32) {
	for i := range uint32(2) {
		e.ways[2*pair+i].Clear()
	}
	e.mu.Lock()
	e.free = append(e.free, pair)
	e.mu.Unlock()
}
