package gateway

import (
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/poll"
	"sluice/userspace/sni"
)

const (
	// acceptTurn is how many connections a listener may accept before others
	// get their turn.
	acceptTurn = 64
	// Waits between attempts to accept while the system is out of something.
	minBackoff = 5 * time.Millisecond
	maxBackoff = time.Second
	// warnEvery is the least time between two warnings about it.
	warnEvery = 10 * time.Second
)

// worker is an event loop with all that lives on it.
type worker struct {
	g         *Gateway
	loop      *poll.Loop
	listeners []*listener
	paths     []Path
	conns     map[*conn]struct{}
	draining  bool

	scratch []byte // for what is peeked at, and what is thrown away
	hello   sni.Hello
	options []sockopt // of upstream sockets

	ended volume // moved by flows that are over
	moved volume // by all flows, at the last sum
}

// volume is bytes each way: counted on the loop, and read elsewhere too.
type volume struct{ sent, received atomic.Uint64 }

func newWorker(g *Gateway) (*worker, error) {
	loop, err := poll.New()
	if err != nil {
		return nil, err
	}
	w := &worker{
		g:       g,
		loop:    loop,
		conns:   make(map[*conn]struct{}),
		scratch: make([]byte, max(g.cfg.HelloMax, 64<<10)),
		options: g.cfg.Socket.list(),
	}
	if w.paths, err = g.parts.Paths(loop); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// run drives the loop until the drain is over.
func (w *worker) run() error {
	err := w.loop.Run()
	w.closeParts()
	return err
}

// close frees a worker that never ran.
func (w *worker) close() {
	w.closeParts()
	w.loop.Discard()
}

func (w *worker) closeParts() {
	for _, l := range w.listeners {
		l.close()
	}
	for _, p := range w.paths {
		p.Close()
	}
}

// drain accepts what the kernel has already taken, and nothing after.
func (w *worker) drain() {
	if w.draining {
		return
	}
	for _, l := range w.listeners {
		for l.accept(acceptTurn) == acceptTurn {
		}
		l.close()
	}
	w.draining = true
	w.stopWhenEmpty()
}

// cut ends all that a drain has left.
func (w *worker) cut() {
	for c := range w.conns {
		c.cut()
	}
	w.stopWhenEmpty()
}

func (w *worker) stopWhenEmpty() {
	if w.draining && len(w.conns) == 0 {
		w.loop.Stop()
	}
}

// sum counts what all flows have moved so far.
func (w *worker) sum() {
	sent, received := w.ended.sent.Load(), w.ended.received.Load()
	for c := range w.conns {
		if c.stage == stageCarried {
			c.carriage.Tally()
		}
		sent += c.flow.Sent.Load()
		received += c.flow.Received.Load()
	}
	w.moved.sent.Store(sent)
	w.moved.received.Store(received)
}

// listener is a worker's socket on one of the addresses.
type listener struct {
	w       *worker
	fd      poll.FD
	addr    netip.AddrPort
	backoff time.Duration
	warned  time.Time // when an error was logged last
	timer   poll.Timer
}

func (w *worker) addListener(fd int, addr netip.AddrPort) error {
	l := &listener{w: w, addr: addr}
	l.timer.F = l.resume
	var err error
	if l.fd, err = w.loop.Add(fd, poll.In, l); err != nil {
		return err
	}
	w.listeners = append(w.listeners, l)
	return nil
}

func (l *listener) close() {
	l.w.loop.Cancel(&l.timer)
	if l.fd.Valid() {
		l.w.loop.Close(l.fd)
		l.fd = poll.FD{}
	}
}

// Ready is called when connections wait.
func (l *listener) Ready(poll.Events) { l.accept(acceptTurn) }

// accept takes at most n connections and returns how many came.
func (l *listener) accept(n int) int {
	if !l.fd.Valid() {
		return 0
	}
	for i := range n {
		fd, sa, err := unix.Accept4(l.fd.Sys, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
			l.backoff = 0
			l.w.begin(fd, l.local(fd), addrPort(sa))
		case unix.EAGAIN:
			return i
		case unix.ECONNABORTED, unix.EINTR, unix.EPROTO, unix.ENOPROTOOPT, unix.EOPNOTSUPP,
			unix.ENETDOWN, unix.ENETUNREACH, unix.EHOSTDOWN, unix.EHOSTUNREACH, unix.ENONET:
			// The connection broke while it waited (accept(2) lists the errors): the
			// next one may be well.
			l.w.g.parts.Observer.AcceptError(err)
		default:
			// Out of descriptors or memory, mostly, and the connection still waits.
			l.w.g.parts.Observer.AcceptError(err)
			if err == unix.EINVAL {
				l.close() // it does not listen any more: somebody has aborted it, as ss -K does
			}
			l.pause(err)
			return i
		}
	}
	return n
}

// local is the address that a connection came to. A listener on all addresses
// has to ask.
func (l *listener) local(fd int) netip.AddrPort {
	if l.addr.Addr().IsUnspecified() {
		if sa, err := unix.Getsockname(fd); err == nil {
			return addrPort(sa)
		}
	}
	return l.addr
}

// pause leaves connections waiting in the kernel for a while. The socket stays
// readable, so watching it on would spin.
func (l *listener) pause(why error) {
	// At the limit it may come and go with every flow: the counter tells how often.
	if now := time.Now(); now.Sub(l.warned) >= warnEvery {
		l.warned = now
		l.w.g.parts.Log.Warn("cannot accept for now", "listener", l.addr, "error", why)
	}
	l.backoff = min(max(2*l.backoff, minBackoff), maxBackoff)
	if l.fd.Valid() {
		if err := l.w.loop.Watch(l.fd, 0); err != nil {
			l.w.g.parts.Log.Error("cannot pause accepting", "listener", l.addr, "error", err)
		}
	}
	l.w.loop.After(&l.timer, l.backoff)
}

func (l *listener) resume() {
	if err := l.listen(); err != nil {
		l.w.g.parts.Log.Error("cannot accept again, trying on", "listener", l.addr, "error", err)
		l.w.loop.After(&l.timer, maxBackoff)
	}
}

// listen watches the listener's socket again, or a new one when it was lost.
func (l *listener) listen() error {
	if l.fd.Valid() {
		return l.w.loop.Watch(l.fd, poll.In)
	}
	fd, _, err := listen(l.addr, l.w.g.cfg)
	if err != nil {
		return err
	}
	if l.fd, err = l.w.loop.Add(fd, poll.In, l); err != nil {
		unix.Close(fd)
	}
	return err
}
