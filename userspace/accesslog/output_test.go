package accesslog

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// ids are the "id" of each line of a text log, in their order.
func ids(log string) string {
	var out []string
	for line := range strings.Lines(log) {
		_, rest, _ := strings.Cut(line, " id=")
		id, _, _ := strings.Cut(rest, " ")
		out = append(out, id)
	}
	return strings.Join(out, " ")
}

// TestRotation moves the file away: lines go on to be written to it until the
// log is told, and to a new one from then on.
func TestRotation(t *testing.T) {
	place := temp(t)
	old := place + ".1"
	l := start(t, place, "text", quiet)
	l.Ended(carried(1))
	eventually(t, "the first line", func() bool { return ids(content(t, place)) == "1" })

	if err := os.Rename(place, old); err != nil {
		t.Fatal(err)
	}
	l.Ended(carried(2))
	eventually(t, "a line in the file moved", func() bool { return ids(content(t, old)) == "1 2" })
	if content(t, place) != "" {
		t.Error("a new file before Reopen")
	}

	l.Reopen()
	l.Reopen()
	eventually(t, "a new file", func() bool { _, err := os.Stat(place); return err == nil })
	l.Ended(carried(3))
	finish(t, l)
	if got := ids(content(t, old)) + " and " + ids(content(t, place)); got != "1 2 and 3" {
		t.Errorf("logged %s", got)
	}
}

// TestReopenFails has something in the way of the new file.
func TestReopenFails(t *testing.T) {
	place := temp(t)
	var said reports
	l := start(t, place, "text", said.logger())
	if err := os.Rename(place, place+".1"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(place, 0o700); err != nil {
		t.Fatal(err)
	}
	l.Reopen()
	want := `level=ERROR msg="access log: going on with the old file" error="open access log: open ` + place + `: is a directory"`
	eventually(t, "a report", func() bool { return slices.Equal(said.lines(), []string{want}) })
	l.Ended(carried(1))
	finish(t, l)
	if got := ids(content(t, place+".1")); got != "1" {
		t.Errorf("logged %q", got)
	}
	if n := l.Dropped(); n != 0 {
		t.Errorf("%d dropped", n)
	}
}

func TestAppends(t *testing.T) {
	place := temp(t)
	for id := range uint64(3) {
		l := start(t, place, "text", quiet)
		l.Ended(carried(id))
		finish(t, l)
	}
	if got := ids(content(t, place)); got != "0 1 2" {
		t.Errorf("logged %q", got)
	}
	if info, err := os.Stat(place); err != nil || info.Mode().Perm()&0o007 != 0 {
		t.Errorf("others may read it: %v, %v", info.Mode(), err)
	}
}

// TestOpenFails refuses what cannot be written to.
func TestOpenFails(t *testing.T) {
	for name, place := range map[string]string{
		"no such file or directory": filepath.Join(t.TempDir(), "none", "access.log"),
		"is a directory":            t.TempDir(),
		"no such device or address": fifo(t), // which nobody reads
	} {
		within(t, "Open", func() {
			l, err := Open(place, "json", quiet)
			if err == nil || l != nil || err.Error() != "open access log: open "+place+": "+name {
				t.Errorf("got %v, want %s", err, name)
			}
		})
	}
}

// TestStandardOutputs closes neither of the two.
func TestStandardOutputs(t *testing.T) {
	for place, file := range map[string]**os.File{"stdout": &os.Stdout, "stderr": &os.Stderr} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		saved := *file
		*file = w
		l, err := Open(place, "text", quiet)
		*file = saved
		if err != nil {
			t.Fatal(err)
		}
		l.Ended(carried(1))
		l.Reopen()
		l.Ended(carried(2))
		finish(t, l)
		if _, err := io.WriteString(w, "x id=3\n"); err != nil {
			t.Errorf("%s: %v", place, err)
		}
		w.Close()
		got, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		if ids := ids(string(got)); !strings.HasPrefix(ids, "1 2 3") {
			t.Errorf("%s: logged %q", place, ids)
		}
	}
}

// TestHalfWritten has the output fail in the middle of a line: once it takes
// bytes again, it gets the rest, and no byte twice.
func TestHalfWritten(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var said reports
	out, err := open(temp(t), "text", said.logger())
	if err != nil {
		t.Fatal(err)
	}
	out.file.Close()
	out.file = w
	for id := uint64(0); out.buffer.Len() < 3*bufferSize; id++ {
		e := newEntry(carried(id))
		out.line(&e)
	}
	whole := out.buffer.String()

	// A pipe takes some of it and then nothing.
	w.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	out.flush()
	out.flush()
	if !out.broken || !out.full() {
		t.Fatalf("a pipe took %d bytes", len(whole)-out.buffer.Len())
	}
	w.SetWriteDeadline(time.Time{})
	go func() {
		out.flush()
		out.close()
	}()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != whole {
		t.Errorf("%d bytes came of %d, or others", len(got), len(whole))
	}
	want := []string{
		`level=ERROR msg="access log: cannot write, lines will be lost" error="write |1: i/o timeout"`,
		`level=INFO msg="access log: can write again"`,
	}
	if got := said.lines(); !slices.Equal(got, want) {
		t.Errorf("reported %q", got)
	}
}
