// Package accesslog writes a line for each flow that has ended.
//
// The loops that move bytes hand over a copy of what is to be told and go on: a
// full disk, or a reader of the log that has stopped, costs lines and never
// traffic. What is lost is counted, and told by the next line that gets through.
package accesslog

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"sluice/userspace/flow"
)

const (
	// queueLength is how many lines may wait for the output: a second's worth at
	// a rate of connections that is high for one host.
	queueLength = 8192
	bufferSize  = 64 << 10
)

// Log is an access log. It implements flow.Sink.
type Log struct {
	path    string // when the output is a file
	handler func(io.Writer) slog.Handler

	queue   chan entry
	reopen  chan struct{}
	dropped atomic.Uint64
	report  *slog.Logger // for what goes wrong with the log itself

	closing sync.Once
	closed  chan struct{} // no more entries are taken
	done    chan struct{} // all of those taken are written
	broken  bool          // the output failed, and that was reported
}

// Open starts a log to a place: "stdout", "stderr" or a file, which is appended
// to. The format is "json" or "text". Failures to write are reported to report.
func Open(place, format string, report *slog.Logger) (*Log, error) {
	l := &Log{
		handler: handler(format),
		queue:   make(chan entry, queueLength),
		reopen:  make(chan struct{}, 1),
		report:  report,
		closed:  make(chan struct{}),
		done:    make(chan struct{}),
	}
	out, err := l.open(place)
	if err != nil {
		return nil, err
	}
	go l.write(out)
	return l, nil
}

func handler(format string) func(io.Writer) slog.Handler {
	if format == "json" {
		return func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) }
	}
	return func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) }
}

func (l *Log) open(place string) (*os.File, error) {
	switch place {
	case "stdout":
		return os.Stdout, nil
	case "stderr":
		return os.Stderr, nil
	}
	l.path = place
	return openFile(place)
}

func openFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open access log: %w", err)
	}
	return f, nil
}

// Ended queues the line of a flow. It does not block, and keeps nothing of f.
func (l *Log) Ended(f *flow.Flow) {
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
// any more.
func (l *Log) Close(ctx context.Context) error {
	l.closing.Do(func() { close(l.closed) })
	select {
	case <-l.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("write the rest of the access log, %d lines: %w", len(l.queue), ctx.Err())
	}
}

// output is where lines go now.
type output struct {
	file    *os.File
	buffer  *bufio.Writer
	handler slog.Handler
}

func (l *Log) newOutput(f *os.File) output {
	b := bufio.NewWriterSize(f, bufferSize)
	return output{f, b, l.handler(b)}
}

// write is the log's goroutine.
func (l *Log) write(f *os.File) {
	defer close(l.done)
	out := l.newOutput(f)
	var told uint64 // of the lines dropped
	for {
		select {
		case e := <-l.queue:
			if n := l.dropped.Load(); n > told {
				l.emit(&out, lost(n-told))
				told = n
			}
			l.emit(&out, e.record())
			if len(l.queue) == 0 {
				l.flush(&out)
			}
		case <-l.reopen:
			out = l.replace(out)
		case <-l.closed:
			l.finish(&out)
			return
		}
	}
}

func (l *Log) finish(out *output) {
	for len(l.queue) > 0 {
		e := <-l.queue
		l.emit(out, e.record())
	}
	l.flush(out)
	if l.path != "" {
		out.file.Close()
	}
}

func (l *Log) emit(out *output, r slog.Record) {
	if err := out.handler.Handle(context.Background(), r); err != nil {
		l.fail(out, err)
	}
}

func (l *Log) flush(out *output) {
	if err := out.buffer.Flush(); err != nil {
		l.fail(out, err)
		return
	}
	l.broken = false
}

// fail counts and reports a failed write, and readies the buffer for another try.
func (l *Log) fail(out *output, err error) {
	l.dropped.Add(1)
	if !l.broken {
		l.broken = true
		l.report.Error("access log: cannot write, lines are lost", "error", err)
	}
	*out = l.newOutput(out.file)
}

// replace opens the file anew and keeps the old one when that fails.
func (l *Log) replace(out output) output {
	l.flush(&out)
	if l.path == "" {
		return out
	}
	f, err := openFile(l.path)
	if err != nil {
		l.report.Error("access log: going on with the old file", "error", err)
		return out
	}
	out.file.Close()
	return l.newOutput(f)
}

func lost(n uint64) slog.Record {
	r := slog.NewRecord(time.Now(), slog.LevelWarn, "access log lost lines", 0)
	r.AddAttrs(slog.Uint64("lines", n))
	return r
}

// entry is what a line tells of a flow.
type entry struct {
	id                            uint64
	ended                         time.Time
	local, peer, source, upstream netip.AddrPort
	sni, alpn                     string
	version                       uint16
	route, cluster, path          string
	attempts                      int
	sent, received                uint64
	duration, hello, connect      time.Duration
	end                           flow.End
	detail                        string
}

func newEntry(f *flow.Flow) entry {
	e := entry{
		id:       f.ID,
		ended:    f.Start.Add(f.Duration),
		local:    f.Local,
		peer:     f.Peer,
		source:   f.Source,
		upstream: f.Upstream,
		sni:      f.SNI,
		alpn:     f.ALPN,
		version:  f.Version,
		path:     f.Path,
		attempts: f.Attempts,
		sent:     f.Sent.Load(),
		received: f.Received.Load(),
		duration: f.Duration,
		hello:    f.HelloIn,
		connect:  f.Connect,
		end:      f.End,
		detail:   f.Detail,
	}
	if f.Route != nil {
		e.route = f.Route.Name
	}
	if f.Cluster != nil {
		e.cluster = f.Cluster.Name
	}
	return e
}

// record is the line. Refusals are warnings.
func (e *entry) record() slog.Record {
	level := slog.LevelInfo
	if e.end.Refused() {
		level = slog.LevelWarn
	}
	r := slog.NewRecord(e.ended, level, "flow", 0)
	r.AddAttrs(slog.Uint64("id", e.id), slog.String("listener", e.local.String()))
	if e.peer != e.source {
		r.AddAttrs(slog.String("peer", e.peer.String()))
	}
	r.AddAttrs(slog.String("source", e.source.String()))
	addText(&r, "sni", e.sni)
	addText(&r, "alpn", e.alpn)
	addText(&r, "tls", versionName(e.version))
	addText(&r, "route", e.route)
	addText(&r, "cluster", e.cluster)
	if e.upstream.IsValid() {
		r.AddAttrs(slog.String("endpoint", e.upstream.String()))
	}
	addText(&r, "path", e.path)
	r.AddAttrs(
		slog.Uint64("sent", e.sent),
		slog.Uint64("received", e.received),
		slog.Float64("duration_ms", milliseconds(e.duration)),
		slog.Float64("hello_ms", milliseconds(e.hello)),
		slog.Float64("connect_ms", milliseconds(e.connect)),
		slog.Int("attempts", e.attempts),
		slog.String("reason", e.end.String()),
	)
	addText(&r, "detail", e.detail)
	return r
}

func addText(r *slog.Record, key, value string) {
	if value != "" {
		r.AddAttrs(slog.String(key, value))
	}
}

// versionName is a TLS version as people write it, "" for none.
func versionName(v uint16) string {
	if v < 0x0301 || v > 0x03ff {
		return ""
	}
	return fmt.Sprintf("1.%d", v&0xff-1)
}

// milliseconds is d in ms, to the microsecond.
func milliseconds(d time.Duration) float64 {
	return float64(d.Microseconds()) / 1000
}
