package sockmap

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"sluice/userspace/poll"
	"sluice/userspace/slot"
)

// Kernel is the program in the kernel with its maps. Its methods are called by
// all workers at the same time.
type Kernel interface {
	// Ways is the memory shared with the program, two ways for each flow.
	Ways() []slot.Way
	// Bind leads from a socket's cookie to the way of what arrives on it.
	Bind(cookie uint64, way uint32) error
	Unbind(cookie uint64) error
	// Insert gives a socket to the program. Its errors unwrap to the kernel's.
	Insert(cookie uint64, fd int) error
	// Policies is the number of policies; that of index 0 is everybody's.
	Policies() int
	SetPolicy(index uint32, p slot.Policy) error
	// Counters counts pieces of stream by what became of them.
	Counters() ([slot.Reasons]uint64, error)
	// Events makes a worker's ring of events.
	Events(worker int) (slot.Source, error)
}

// Config is what an operator can set. Zero fields mean the default given.
type Config struct {
	Credit       uint32        // bytes on their way to a receiver, for routes without their own: 1 MiB
	FailLimit    int           // failed checks after which new flows go elsewhere: 3
	StallTimeout time.Duration // without progress, for what is left of a flow that has ended: 30 s
}

const (
	defaultCredit    = 1 << 20
	maxCredit        = 64 << 20
	defaultFailLimit = 3
	defaultStall     = 30 * time.Second
)

// Engine is what the paths of all workers share.
type Engine struct {
	kernel Kernel
	cfg    Config
	ways   []slot.Way

	off    atomic.Pointer[string] // why new flows go elsewhere; nil when they do not
	broken atomic.Uint64          // flows reset because a check failed
	fallen [reasons]atomic.Uint64 // flows that stayed on the fallback, by reason

	mu     sync.Mutex
	free   []uint32 // pairs of ways
	routes routes
}

// New makes the engine, with the whole of a kernel's ways free.
func New(k Kernel, cfg Config) (*Engine, error) {
	if cfg.Credit == 0 {
		cfg.Credit = defaultCredit
	}
	if cfg.FailLimit <= 0 {
		cfg.FailLimit = defaultFailLimit
	}
	if cfg.StallTimeout <= 0 {
		cfg.StallTimeout = defaultStall
	}
	e := &Engine{kernel: k, cfg: cfg, ways: k.Ways()}
	e.routes.init(k.Policies())
	for pair := len(e.ways) / 2; pair > 0; pair-- {
		e.free = append(e.free, uint32(pair-1))
	}
	if err := e.SetPolicy("", slot.Policy{Rule: slot.On, Credit: cfg.Credit}); err != nil {
		return nil, err
	}
	return e, nil
}

// Path makes the path of one worker. What it cannot carry it gives to fallback.
func (e *Engine) Path(loop *poll.Loop, worker int, fallback Fallback) (*Path, error) {
	events, err := e.kernel.Events(worker)
	if err != nil {
		return nil, err
	}
	p := &Path{engine: e, loop: loop, worker: uint32(worker), fallback: fallback, events: events,
		flows: make(map[uint32]*carriage), buf: make([]byte, bufferSize)}
	if err := p.watchEvents(); err != nil {
		return nil, errors.Join(err, events.Close())
	}
	return p, nil
}

// SwitchOff sends new flows elsewhere, for the reason given. Those that are
// under way go on.
func (e *Engine) SwitchOff(why string) { e.off.CompareAndSwap(nil, &why) }

// SwitchOn undoes SwitchOff.
func (e *Engine) SwitchOn() {
	e.broken.Store(0)
	e.off.Store(nil)
}

// Off tells why new flows go elsewhere, and "" when they do not.
func (e *Engine) Off() string {
	if why := e.off.Load(); why != nil {
		return *why
	}
	return ""
}

// Broken is how many flows were reset because a check of their bytes failed.
func (e *Engine) Broken() uint64 { return e.broken.Load() }

// Fallen counts the flows that the path could not take, by reason.
func (e *Engine) Fallen() map[string]uint64 {
	all := make(map[string]uint64, reasons)
	for r := range reasons {
		all[reasonNames[r]] = e.fallen[r].Load()
	}
	return all
}

// failed counts a flow whose check failed. Too many switch the path off: better
// slow than wrong.
func (e *Engine) failed(detail string) {
	if n := e.broken.Add(1); n >= uint64(e.cfg.FailLimit) {
		e.SwitchOff(fmt.Sprintf("%d flows had to be reset, the last one because %s", n, detail))
	}
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

// give takes a pair back. The kernel must have no way to it any more.
func (e *Engine) give(pair uint32) {
	for i := range 2 {
		e.way(pair, i).Clear()
	}
	e.mu.Lock()
	e.free = append(e.free, pair)
	e.mu.Unlock()
}

func (e *Engine) way(pair uint32, i int) *slot.Way { return &e.ways[2*pair+uint32(i)] }

// Idle is how many more flows there is room for.
func (e *Engine) Idle() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.free)
}
