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

	mu    sync.Mutex
	free  []uint32 // pairs of ways
	pairs []pair
	held  map[string]struct{} // routes that are to go by TCP
}

// pair is two ways of a flow.
type pair struct {
	route   string
	targets [2]uint64 // cookies; 0: no sender is enrolled
}

// New makes the engine, with the whole of a kernel's ways free.
func New(k Kernel) *Engine {
	e := &Engine{kernel: k, ways: k.Ways(), held: make(map[string]struct{})}
	e.pairs = make([]pair, len(e.ways)/2)
	for index := len(e.pairs); index > 0; index-- {
		e.free = append(e.free, uint32(index-1))
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

// Hold has what is sent into flows of a route go by TCP, those under way included, or no
// longer.
func (e *Engine) Hold(route string, on bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if on {
		e.held[route] = struct{}{}
	} else {
		delete(e.held, route)
	}
	for i := range e.pairs {
		if e.pairs[i].route == route {
			e.point(uint32(i))
		}
	}
}

// point tells the program where the ways of a pair lead. One that it was told nothing of
// goes by TCP, and may go past it again later, for the program counts what does.
func (e *Engine) point(index uint32) {
	p := &e.pairs[index]
	_, held := e.held[p.route]
	for i, target := range p.targets {
		if held {
			target = 0
		}
		e.ways[2*index+uint32(i)].Target.Store(target)
	}
}

// aim sets where a way leads; to 0 for nowhere.
func (e *Engine) aim(index uint32, i int, target uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pairs[index].targets[i] = target
	e.point(index)
}

// take lends a pair of ways to a flow of a route.
func (e *Engine) take(route string) (index uint32, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	last := len(e.free) - 1
	if last < 0 {
		return 0, false
	}
	index = e.free[last]
	e.free = e.free[:last]
	e.pairs[index].route = route
	return index, true
}

// give takes a pair back.
func (e *Engine) give(index uint32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pairs[index] = pair{}
	for i := range uint32(2) {
		e.ways[2*index+i].Clear()
	}
	e.free = append(e.free, index)
}
