package main

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/poll"
)

// Ping-pong flows of which there are more than one share an event loop at each end, as
// they do in sidecars: with a thread for each, what is measured is in whose favour the
// kernel schedules threads.

// piecewise reads pieces of a size from a socket of a loop.
type piecewise struct {
	loop *poll.Loop
	fd   poll.FD
	buf  []byte
	got  int
}

// watch has a loop call h for what arrives on a wire, which it owns from then on.
func (p *piecewise) watch(w *wire, h poll.Handler) error {
	err := unix.SetNonblock(w.fd, true)
	if err == nil {
		p.fd, err = p.loop.Add(w.fd, poll.In, h)
	}
	if err != nil {
		w.Close()
	}
	return err
}

// read tells whether a piece is whole.
func (p *piecewise) read() (bool, error) {
	n, err := unix.Read(p.fd.Sys, p.buf[p.got:])
	switch {
	case err == unix.EAGAIN, err == unix.EINTR:
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read: %w", err)
	case n == 0:
		return false, errors.New("the connection ended before its time")
	}
	p.got += n
	if p.got < len(p.buf) {
		return false, nil
	}
	p.got = 0
	return true, nil
}

// send writes a piece. There is always room for it: one is under way at a time.
func (p *piecewise) send() error {
	n, err := unix.Write(p.fd.Sys, p.buf)
	if err == nil && n < len(p.buf) {
		err = fmt.Errorf("%d of %d bytes were taken", n, len(p.buf))
	}
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// echoer is the server's end of a flow.
type echoer struct{ piecewise }

// echoLoop adds a flow to the server's loop.
func echoLoop(loop *poll.Loop, w *wire, size int) {
	loop.Post(func() {
		e := &echoer{piecewise{loop: loop, buf: make([]byte, size)}}
		_ = e.watch(w, e)
	})
}

// Ready is the loop's.
func (e *echoer) Ready(poll.Events) {
	whole, err := e.read()
	if whole {
		err = e.send()
	}
	if err != nil { // the client has measured enough
		e.loop.Close(e.fd)
	}
}

// talks are all flows of a client's loop.
type talks struct {
	l     *load
	loop  *poll.Loop
	first int // flows that have not had their first exchange
	left  int // and that go on
	times []int64
	err   error
}

// talk is the client's end of a flow.
type talk struct {
	piecewise
	of    *talks
	begun time.Time // of the exchange under way; zero in the first one, which does not count
}

// startTalks opens flows and has them wait for the beginning.
func (l *load) startTalks(flows int) error {
	loop, err := poll.New()
	if err != nil {
		return err
	}
	all := &talks{l: l, loop: loop, first: flows, left: flows}
	talking := make([]*talk, flows)
	for i := range talking {
		w, err := open(l.Addr, l.hello, command{opMany, uint32(l.Workload.Size)})
		if err != nil {
			return err
		}
		t := &talk{piecewise{loop: loop, buf: make([]byte, l.Workload.Size)}, all, time.Time{}}
		if err := t.watch(w, t); err != nil {
			return err
		}
		if err := t.send(); err != nil {
			return err
		}
		talking[i] = t
	}
	l.ready.Add(flows)
	loop.After(&poll.Timer{F: func() { all.end(errors.New("a flow stalls")) }}, l.Time+2*patience)
	go func() {
		<-l.from
		loop.Post(func() {
			for _, t := range talking {
				t.next()
			}
		})
	}()
	l.wg.Go(func() {
		err := loop.Run()
		l.count(time.Now(), 0, all.times)
		l.fail(errors.Join(err, all.err))
	})
	return nil
}

// Ready is the loop's.
func (t *talk) Ready(poll.Events) {
	whole, err := t.read()
	switch {
	case err != nil:
		t.of.end(err)
	case !whole:
	case t.begun.IsZero():
		t.of.first--
		t.of.l.ready.Done()
	default:
		t.of.times = append(t.of.times, time.Since(t.begun).Nanoseconds())
		t.next()
	}
}

// next begins an exchange, unless the time is over.
func (t *talk) next() {
	if t.of.l.over.Load() {
		t.loop.Close(t.fd)
		if t.of.left--; t.of.left == 0 {
			t.of.end(nil)
		}
		return
	}
	t.begun = time.Now()
	if err := t.send(); err != nil {
		t.of.end(err)
	}
}

// end ends all of them. Nobody waits for who is not ready then.
func (ts *talks) end(err error) {
	ts.l.ready.Add(-ts.first)
	ts.first = 0
	ts.err = errors.Join(ts.err, err)
	ts.loop.Stop()
}
