// Package accesslog writes a line for each flow that has ended.
//
// The loops that move bytes hand over a copy of what is to be told and go on: a
// full disk, or a reader of the log that has stopped, costs lines and never
// traffic. Some wait until the output takes them; what is lost beyond that is
// counted, and told by the next line that gets through.
package accesslog

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"sluice/userspace/flow"
)

// queueLength is how many flows may wait for the log's goroutine: a second's
// worth at a rate of connections that is high for one host.
const queueLength = 8192

// Log is an access log. It implements flow.Sink.
type Log struct {
	queue   chan entry
	reopen  chan struct{}
	dropped atomic.Uint64

	closing sync.Once
	closed  chan struct{} // no more entries are taken
	done    chan struct{} // all of those taken are written
}

// Open starts a log to a place: "stdout", "stderr" or a file, which is appended
// to. The format is "json" or "text". Failures to write are reported to report.
func Open(place, format string, report *slog.Logger) (*Log, error) {
	l := &Log{
		queue:  make(chan entry, queueLength),
		reopen: make(chan struct{}, 1),
		closed: make(chan struct{}),
		done:   make(chan struct{}),
	}
	out, err := open(place, format, report)
	if err != nil {
		return nil, err
	}
	go l.write(out)
	return l, nil
}

// Ended queues the line of a flow. It does not block, and keeps nothing of f.
func (l *Log) Ended(f *flow.Flow) {
	if f.End == flow.Probe {
		return // there are many, and nothing to say about them
	}
	select {
	case l.queue <- newEntry(f):
	default:
		l.dropped.Add(1)
	}
}

// Dropped is the number of lines lost because the output was too slow, or failed.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// Reopen has a file opened anew, after it was moved away. It does not wait.
func (l *Log) Reopen() {
	select {
	case l.reopen <- struct{}{}:
	default: // about to happen
	}
}

// Close writes what is queued, as long as ctx allows. Ended must not be called
// any more. With an output that is stuck for good the log's goroutine stays in
// its write: nothing but the end of the process ends it.
func (l *Log) Close(ctx context.Context) error {
	l.closing.Do(func() { close(l.closed) })
	select {
	case <-l.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("write the rest of the access log, %d lines queued: %w", len(l.queue), ctx.Err())
	}
}

// write is the log's goroutine.
func (l *Log) write(out *output) {
	defer close(l.done)
	for {
		select {
		case e := <-l.queue:
			l.put(out, &e)
			if len(l.queue) == 0 || out.full() {
				out.flush()
			}
		case <-l.reopen:
			out.reopen()
		case <-l.closed:
			l.finish(out)
			return
		}
	}
}

// put adds a line to the output's buffer. That is full only while the output
// fails.
func (l *Log) put(out *output, e *entry) {
	if out.full() {
		l.dropped.Add(1)
		return
	}
	out.tellLost(l.dropped.Load())
	out.line(e)
}

// finish writes what is left. The loss is told last, as no line follows.
func (l *Log) finish(out *output) {
	for len(l.queue) > 0 {
		e := <-l.queue
		l.put(out, &e)
		if out.full() {
			out.flush()
		}
	}
	out.flush()
	out.tellLost(l.dropped.Load())
	out.flush()
	l.dropped.Add(out.close())
}
