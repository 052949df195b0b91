package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// progress tells where a run is: on a terminal in one line that is written over, else
// in a line for each turn.
type progress struct {
	out      io.Writer
	terminal bool
	begun    time.Time
	done     time.Duration // by estimate
	all      time.Duration
}

func newProgress(f *os.File, all time.Duration) *progress {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return &progress{out: f, terminal: err == nil, begun: time.Now(), all: all}
}

// say tells what is being done, and how much time is left.
func (p *progress) say(format string, args ...any) {
	rest := left(p.done, p.all, time.Since(p.begun)).Round(time.Second)
	line := fmt.Sprintf("%7s left  %s", rest, fmt.Sprintf(format, args...))
	if p.terminal {
		fmt.Fprintf(p.out, "\r\x1b[K%s", line)
		return
	}
	fmt.Fprintln(p.out, line)
}

// end clears the line.
func (p *progress) end() {
	if p.terminal {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
