package accesslog

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// bufferSize is how many bytes of lines are gathered for one write, and how many
// wait while the output fails. A line may exceed it.
const bufferSize = 64 << 10

// output is where the lines go. It belongs to the log's goroutine.
type output struct {
	path    string // "" when it is not a file
	file    *os.File
	buffer  bytes.Buffer // what file has not taken yet
	handler slog.Handler // to the buffer
	attrs   []slog.Attr  // of the line being made
	report  *slog.Logger // for what goes wrong with the log itself
	broken  bool         // the last write failed, and that was reported
	told    uint64       // how many lines were said to be lost
}

func open(place, format string, report *slog.Logger) (*output, error) {
	o := &output{report: report}
	switch place {
	case "stdout":
		o.file = os.Stdout
	case "stderr":
		o.file = os.Stderr
	default:
		var err error
		if o.file, err = openFile(place); err != nil {
			return nil, err
		}
		o.path = place
	}
	if format == "json" {
		o.handler = slog.NewJSONHandler(&o.buffer, nil)
	} else {
		o.handler = slog.NewTextHandler(&o.buffer, nil)
	}
	return o, nil
}

// openFile opens a file or a named pipe. One that nobody reads is an error, as
// waiting for a reader would have no end.
func openFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY|unix.O_NONBLOCK, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open access log: %w", err)
	}
	return f, nil
}

// line adds the line of a flow.
func (o *output) line(e *entry) {
	o.attrs = e.appendTo(o.attrs[:0])
	o.add(e.ended, e.level(), "flow", o.attrs...)
}

// tellLost adds a line about the lines lost since the last one about them; total
// is the number of all that were ever lost.
func (o *output) tellLost(total uint64) {
	if total > o.told {
		o.add(time.Now(), slog.LevelWarn, "access log lost lines", slog.Uint64("lines", total-o.told))
		o.told = total
	}
}

func (o *output) add(at time.Time, level slog.Level, msg string, attrs ...slog.Attr) {
	r := slog.NewRecord(at, level, msg, 0)
	r.AddAttrs(attrs...)                          // all at once: that allocates once
	_ = o.handler.Handle(context.Background(), r) // a buffer in memory takes everything
}

// full tells whether it is time to flush or, after a flush, that it failed.
func (o *output) full() bool { return o.buffer.Len() >= bufferSize }

// flush writes the buffer. What the file does not take stays, to go on at the
// very byte: no line is torn by an error that passes.
func (o *output) flush() {
	if o.buffer.Len() == 0 {
		return
	}
	_, err := o.buffer.WriteTo(o.file)
	switch broken := err != nil; {
	case broken && !o.broken:
		o.report.Error("access log: cannot write, lines will be lost", "error", err)
	case !broken && o.broken:
		o.report.Info("access log: can write again")
	}
	o.broken = err != nil
}

// reopen opens the file anew and keeps the old one when that fails.
func (o *output) reopen() {
	o.flush()
	if o.path == "" {
		return
	}
	f, err := openFile(o.path)
	if err != nil {
		o.report.Error("access log: going on with the old file", "error", err)
		return
	}
	o.file.Close()
	o.file = f
	o.flush()
}

// close returns the number of lines that could not be written.
func (o *output) close() (lost uint64) {
	if o.path != "" {
		o.file.Close()
	}
	return uint64(bytes.Count(o.buffer.Bytes(), []byte("\n")))
}
