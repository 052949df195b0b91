package accesslog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// many is more than the queue, a buffer and a pipe take together.
const many = 3 * queueLength

func fifo(t *testing.T) string {
	t.Helper()
	path := temp(t)
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// silentReader opens a named pipe for reading, and does not read.
func silentReader(t *testing.T, path string) *os.File {
	t.Helper()
	r, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// count is the number of flows in a text log and of those it says it lost.
func count(log io.Reader) (flows, lost int, err error) {
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		var n int
		_, rest, _ := strings.Cut(lines.Text(), " msg=")
		switch {
		case strings.HasPrefix(rest, "flow id=") && strings.HasSuffix(rest, " reason=closed"):
			flows++
		default:
			if _, err := fmt.Sscanf(rest, `"access log lost lines" lines=%d`, &n); err != nil {
				return 0, 0, fmt.Errorf("line %q: %w", lines.Text(), err)
			}
			lost += n
		}
	}
	return flows, lost, lines.Err()
}

// expectAccounted checks that each of the flows is either there or told lost.
func expectAccounted(t *testing.T, l *Log, log io.Reader, ended int) {
	t.Helper()
	flows, lost, err := count(log)
	if err != nil {
		t.Fatal(err)
	}
	if flows+lost != ended || lost != int(l.Dropped()) {
		t.Errorf("%d flows ended: %d logged, %d told lost, %d counted lost", ended, flows, lost, l.Dropped())
	}
	t.Logf("%d flows logged, %d lost", flows, lost)
}

// TestStuck ends flows while nobody reads the log, from several goroutines, and
// then reads it.
func TestStuck(t *testing.T) {
	path := fifo(t)
	r := silentReader(t, path)
	l := start(t, path, "text", quiet)
	const goroutines = 4
	within(t, "Ended", func() {
		var wg sync.WaitGroup
		for g := range goroutines {
			wg.Go(func() {
				for i := range many / goroutines {
					l.Ended(carried(uint64(g*many + i)))
				}
			})
		}
		wg.Wait()
	})
	if l.Dropped() < many-2*queueLength {
		t.Errorf("%d lines dropped of %d", l.Dropped(), many)
	}
	go l.Close(context.Background())
	expectAccounted(t, l, r, many)
}

// TestCloseStuck gives the rest up when its time is over.
func TestCloseStuck(t *testing.T) {
	path := fifo(t)
	r := silentReader(t, path)
	l := start(t, path, "json", quiet)
	for range many {
		l.Ended(carried(1))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	within(t, "Close", func() {
		err := l.Close(ctx)
		if !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "write the rest of the access log, ") {
			t.Errorf("got %v", err)
		}
	})
	within(t, "Close after the reader has come back", func() {
		go io.Copy(io.Discard, r)
		finish(t, l)
	})
}

// TestReaderGone has the pipe's reader leave, and another one come.
func TestReaderGone(t *testing.T) {
	path := fifo(t)
	r := silentReader(t, path)
	var said reports
	l := start(t, path, "text", said.logger())
	r.Close()
	l.Ended(carried(1))
	eventually(t, "a report", func() bool {
		return said.lines()[0] == `level=ERROR msg="access log: cannot write, lines will be lost" error="write `+path+`: broken pipe"`
	})
	r = silentReader(t, path)
	l.Ended(carried(2))
	finish(t, l)
	got, err := io.ReadAll(r)
	if err != nil || ids(string(got)) != "1 2" {
		t.Errorf("logged %q, %v", got, err)
	}
}

// TestFull logs to a disk without room, until there is some.
func TestFull(t *testing.T) {
	place := temp(t)
	if err := os.Symlink("/dev/full", place); err != nil {
		t.Fatal(err)
	}
	var said reports
	l := start(t, place, "text", said.logger())
	// A few at a time, so that what gets lost is lost to the disk and not for
	// want of room in the queue.
	const ended = 2000
	for id := range uint64(ended) {
		l.Ended(carried(id))
		eventually(t, "an empty queue", func() bool { return len(l.queue) < queueLength/2 })
	}
	eventually(t, "a loss", func() bool { return l.Dropped() > 0 && len(l.queue) == 0 })
	if err := os.Remove(place); err != nil {
		t.Fatal(err)
	}
	l.Reopen()
	eventually(t, "a new file", func() bool { return content(t, place) != "" })
	l.Ended(carried(ended))
	finish(t, l)

	log := content(t, place)
	expectAccounted(t, l, strings.NewReader(log), ended+1)
	if !strings.HasPrefix(ids(log), "0 1 2 ") || !strings.HasSuffix(ids(log), fmt.Sprint(" ", ended)) {
		t.Errorf("the first and the last are not there: %s", ids(log))
	}
	want := []string{
		`level=ERROR msg="access log: cannot write, lines will be lost" error="write ` + place + `: no space left on device"`,
		`level=INFO msg="access log: can write again"`,
	}
	if got := said.lines(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("reported %q", got)
	}
}

// TestFullToTheEnd has no room at the end either: all lines are counted as lost.
func TestFullToTheEnd(t *testing.T) {
	var said reports
	l := start(t, "/dev/full", "json", said.logger())
	const ended = 1000
	for id := range uint64(ended) {
		l.Ended(carried(id))
	}
	finish(t, l)
	if n := l.Dropped(); n < ended {
		t.Errorf("%d of %d lines counted as lost", n, ended)
	}
	if got := said.lines(); len(got) != 1 {
		t.Errorf("reported %q", got)
	}
}

// TestCloseFlushes has every line of a full queue written, and by a Close that
// comes twice.
func TestCloseFlushes(t *testing.T) {
	place := temp(t)
	l := start(t, place, "text", quiet)
	for id := range uint64(queueLength) {
		l.Ended(carried(id))
	}
	finish(t, l)
	finish(t, l)
	if n := l.Dropped(); n != 0 {
		t.Errorf("%d dropped", n)
	}
	expectAccounted(t, l, strings.NewReader(content(t, place)), queueLength)
}
