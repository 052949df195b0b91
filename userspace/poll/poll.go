// Package poll is the gateway's event loop: one epoll instance, driven by one
// goroutine, on raw descriptors.
//
// Go's own netpoller parks a goroutine for every idle connection and is woken
// by every packet of every socket it knows. A gateway has thousands of flows
// that mostly wait, and later hands them to the kernel altogether, so it keeps
// them out of there: a flow that waits costs two descriptors and a few hundred
// bytes, and what it is woken for is the path's choice.
//
// Everything that a Loop calls (handlers, timers, posted functions) runs on the
// loop's goroutine, one after the other, so what belongs to a loop needs no
// locks. None of it may block. Post is the only way in from elsewhere.
package poll

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Events is a set of epoll events.
type Events uint32

// What a descriptor can be watched for. Err and Hup are always reported.
const (
	In     Events = unix.EPOLLIN
	Pri    Events = unix.EPOLLPRI
	Out    Events = unix.EPOLLOUT
	RdHup  Events = unix.EPOLLRDHUP
	Err    Events = unix.EPOLLERR
	Hup    Events = unix.EPOLLHUP
	Edge   Events = unix.EPOLLET
	Stream        = In | Pri | Out | RdHup | Edge // all that a relayed socket can tell, once per change
)

// Has tells whether any of the events in e2 is set.
func (e Events) Has(e2 Events) bool { return e&e2 != 0 }

// Handler is told what happened on its descriptor.
type Handler interface {
	Ready(Events)
}

// FD is a descriptor registered with a loop. The zero value is none.
type FD struct {
	Sys  int    // the descriptor itself
	slot uint32 // 1 + its place in Loop.slots
}

// Valid tells whether the FD is registered.
func (f FD) Valid() bool { return f.slot != 0 }

// slot is what a loop knows of a descriptor. Its generation tells events of the
// one registered now from those of one closed earlier in the same batch.
type slot struct {
	handler Handler
	gen     int32
}

// Loop is an event loop. Make it with New; it does nothing until Run.
type Loop struct {
	epfd  int
	wake  int // eventfd
	start time.Time
	now   time.Duration
	busy  bool // events come at short intervals

	perWake float64 // see PerWake

	slots  []slot
	free   []uint32
	timers timers
	again  []ready // to be called in the next round, without waiting
	spare  []ready

	mu     sync.Mutex
	posted []func()
	closed bool
	ended  chan struct{}
}

type ready struct {
	handler Handler
	events  Events
}

// batch is how many events one wait may bring: enough to spread its cost, few
// enough that the last one does not wait long.
const batch = 128

// ErrClosed is what Do returns for a loop that has ended.
var ErrClosed = errors.New("event loop has ended")

// New makes a loop. It holds two descriptors until Run returns.
func New() (*Loop, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll instance: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epfd)
		return nil, fmt.Errorf("create eventfd: %w", err)
	}
	l := &Loop{epfd: epfd, wake: wake, start: time.Now(), ended: make(chan struct{})}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: -1}
	if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, wake, &ev); err != nil {
		l.release()
		return nil, fmt.Errorf("watch eventfd: %w", err)
	}
	return l, nil
}

// Add watches fd. The loop does not own it until Close.
func (l *Loop) Add(fd int, events Events, h Handler) (FD, error) {
	var i uint32
	if n := len(l.free); n > 0 {
		i = l.free[n-1]
		l.free = l.free[:n-1]
	} else {
		i = uint32(len(l.slots))
		l.slots = append(l.slots, slot{})
	}
	s := &l.slots[i]
	s.handler = h
	f := FD{Sys: fd, slot: i + 1}
	if err := l.control(unix.EPOLL_CTL_ADD, f, events); err != nil {
		l.forget(f)
		return FD{}, fmt.Errorf("watch descriptor: %w", err)
	}
	return f, nil
}

// Handle gives the events of f to another handler from now on.
func (l *Loop) Handle(f FD, h Handler) { l.slots[f.slot-1].handler = h }

// Watch changes what f is watched for.
func (l *Loop) Watch(f FD, events Events) error {
	if err := l.control(unix.EPOLL_CTL_MOD, f, events); err != nil {
		return fmt.Errorf("change watch of descriptor: %w", err)
	}
	return nil
}

func (l *Loop) control(op int, f FD, events Events) error {
	ev := unix.EpollEvent{Events: uint32(events), Fd: int32(f.slot - 1), Pad: l.slots[f.slot-1].gen}
	return unix.EpollCtl(l.epfd, op, f.Sys, &ev)
}

// Close forgets f and closes its descriptor. No event of it is delivered after.
func (l *Loop) Close(f FD) {
	// Closing the last descriptor of a socket takes it out of epoll, and no
	// socket here is ever duplicated, so there is nothing to delete.
	l.forget(f)
	unix.Close(f.Sys)
}

func (l *Loop) forget(f FD) {
	s := &l.slots[f.slot-1]
	s.handler = nil
	s.gen++
	l.free = append(l.free, f.slot-1)
}

// Again has h called with events in the next round, after what else is ready:
// the way to go on with long work without keeping others waiting.
func (l *Loop) Again(h Handler, events Events) {
	l.again = append(l.again, ready{h, events})
}

// Now is the time since the loop was made, as of this round.
func (l *Loop) Now() time.Duration { return l.now }

func (l *Loop) elapsed() time.Duration { return time.Since(l.start) }

// Clock turns a time of Now into wall-clock time.
func (l *Loop) Clock(t time.Duration) time.Time { return l.start.Add(t) }

// Post has f called on the loop soon, at the latest when it ends. It reports
// false when the loop has ended already, so that f will never be called.
func (l *Loop) Post(f func()) bool {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return false
	}
	l.posted = append(l.posted, f)
	first := len(l.posted) == 1
	// Under the lock, so that the eventfd is not closed and reused in between.
	if first {
		one := [8]byte{1}
		// It can only fail with EAGAIN, when a wake-up is pending anyway.
		_, _ = unix.Write(l.wake, one[:])
	}
	l.mu.Unlock()
	return true
}

// Do calls f on the loop and waits for it. When ctx ends first, f may still be
// called later. Calling Do on the loop itself would wait for ever.
func (l *Loop) Do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	if !l.Post(func() { f(); close(done) }) {
		return ErrClosed
	}
	select {
	case <-done:
		return nil
	case <-l.ended:
		// f may be the very one that ended it.
		select {
		case <-done:
			return nil
		default:
			return ErrClosed
		}
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Run drives the loop until Stop, and frees what it holds. Descriptors that are
// still registered stay open.
func (l *Loop) Run() error {
	defer l.release()
	events := make([]unix.EpollEvent, batch)
	for !l.closed {
		n, err := l.wait(events)
		if err != nil {
			return fmt.Errorf("wait for events: %w", err)
		}
		for i := range max(n, 0) {
			l.deliver(&events[i])
		}
		l.runAgain()
		l.timers.expire(l.now)
	}
	l.runPosted() // what Post took while the last round went on
	return nil
}

// Stop makes Run return after the present round. Call it on the loop.
func (l *Loop) Stop() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
}

func (l *Loop) deliver(ev *unix.EpollEvent) {
	if ev.Fd < 0 {
		l.runPosted()
		return
	}
	s := &l.slots[ev.Fd]
	if s.handler == nil || s.gen != ev.Pad {
		return
	}
	s.handler.Ready(Events(ev.Events))
}

func (l *Loop) runPosted() {
	var count [8]byte
	_, _ = unix.Read(l.wake, count[:])
	l.mu.Lock()
	fs := l.posted
	l.posted = nil
	l.mu.Unlock()
	for _, f := range fs {
		f()
	}
}

func (l *Loop) runAgain() {
	if len(l.again) == 0 {
		return
	}
	run := l.again
	l.again = l.spare[:0]
	for i := range run {
		run[i].handler.Ready(run[i].events)
		run[i].handler = nil
	}
	l.spare = run
}

// timeout is how long the next wait may last, in ms for epoll_wait.
func (l *Loop) timeout() int {
	if len(l.again) > 0 {
		return 0
	}
	next, ok := l.timers.next()
	if !ok {
		return -1
	}
	// Rounded up: waking a moment early would only mean to wait once more.
	wait := next - l.elapsed()
	ms := (wait + time.Millisecond - 1) / time.Millisecond
	return int(min(max(ms, 0), math.MaxInt32))
}

// Discard frees a loop that is never going to run.
func (l *Loop) Discard() { l.release() }

func (l *Loop) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	close(l.ended)
	unix.Close(l.wake)
	unix.Close(l.epfd)
}
