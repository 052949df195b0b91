package static

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"sluice/userspace/route"
)

// running is a source at work on a file in a directory of its own.
type running struct {
	*Source
	t      *testing.T
	file   string
	tables chan *route.Table
	reads  chan error // one for each OnReload
	logs   *buffer
}

// content is a file whose only route has this name.
func content(name string) string {
	return "route \"" + name + "\" {\n  cluster = \"api\"\n}\n" + api
}

// start writes the route "first" to the file and runs a source on it. Prepare may
// change the source before.
func start(t *testing.T, file string, prepare func(*Source)) *running {
	t.Helper()
	r := &running{
		Source: New(file, "splice"), t: t, file: file,
		tables: make(chan *route.Table, 100),
		reads:  make(chan error, 100),
		logs:   new(buffer),
	}
	r.Log = slog.New(slog.NewTextHandler(r.logs, nil))
	r.OnReload = func(err error) { r.reads <- err }
	r.settle, r.tick = 10*time.Millisecond, time.Hour
	if prepare != nil {
		prepare(r.Source)
	}
	age(t, file)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx, func(t *route.Table) { r.tables <- t }) }()
	t.Cleanup(func() {
		cancel()
		if err := wait(t, done); err != nil {
			t.Errorf("Run: %v", err)
		}
		if t.Failed() {
			t.Log(r.logs.String())
		}
	})
	r.wantTable("first")
	return r
}

// age waits until a file is no longer fresh, so that no reading comes for that.
func age(t *testing.T, file string) {
	t.Helper()
	for stampOf(file).fresh() {
		time.Sleep(coarse)
	}
}

func wait[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(20 * time.Second):
		t.Fatal("nothing happened for 20 s")
	}
	return v
}

// wantTable waits for the table whose only route has this name. Others may come
// first, if the file was seen half changed.
func (r *running) wantTable(name string) *route.Table {
	r.t.Helper()
	for {
		table := wait(r.t, r.tables)
		if n, _ := table.Len(); n == 1 && table.Route(name) != nil {
			return table
		}
	}
}

// wantRead waits for a reading that ends as told.
func (r *running) wantRead(good bool) error {
	r.t.Helper()
	for {
		if err := wait(r.t, r.reads); (err == nil) == good {
			return err
		}
	}
}

func (r *running) wantNoTable() {
	r.t.Helper()
	select {
	case table := <-r.tables:
		r.t.Errorf("unexpected %v", table)
	default:
	}
}

func newFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "routes.hcl")
	write(t, file, text)
	return file
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestFirstReadingFails(t *testing.T) {
	publish := func(t *route.Table) { panic("published " + t.String()) }
	file := newFile(t, "route {}\n")
	err := New(file).Run(t.Context(), publish)
	if p, ok := errors.AsType[Problems](err); !ok || !strings.HasPrefix(p[0], file+":1: ") {
		t.Errorf("bad file: %v", err)
	}
	for _, gone := range []string{
		filepath.Join(filepath.Dir(file), "none.hcl"),
		filepath.Join(filepath.Dir(file), "none", "none.hcl"),
	} {
		if err := New(gone).Run(t.Context(), publish); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", gone, err)
		}
	}
}

// TestChange has each way in which files change seen.
func TestChange(t *testing.T) {
	next := content("third") // of the same size as content("first")
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, file string)
	}{
		{"rewritten", func(t *testing.T, file string) { write(t, file, next) }},
		{"replaced", func(t *testing.T, file string) {
			write(t, file+".next", next)
			must(t, os.Rename(file+".next", file))
		}},
		{"moved away and written", func(t *testing.T, file string) {
			must(t, os.Rename(file, file+"~"))
			write(t, file, next)
		}},
		{"rewritten with the same mtime", func(t *testing.T, file string) {
			st, err := os.Stat(file)
			must(t, err)
			write(t, file, next)
			must(t, os.Chtimes(file, st.ModTime(), st.ModTime()))
		}},
		{"directory replaced", func(t *testing.T, file string) {
			dir := filepath.Dir(file)
			must(t, os.Mkdir(dir+".new", 0o700))
			write(t, filepath.Join(dir+".new", filepath.Base(file)), next)
			must(t, os.Rename(dir, dir+".old"))
			must(t, os.Rename(dir+".new", dir))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, newFile(t, content("first")), nil)
			tt.change(t, r.file)
			r.wantTable("third")
			// The watch is still on the right file.
			write(t, r.file, content("fourth"))
			r.wantTable("fourth")
		})
	}
}

// TestKubernetes changes the file as a ConfigMap's volume is changed: routes.hcl
// is a link to ..data/routes.hcl, and ..data one to a directory with a time in its
// name, which is replaced (k8s.io/kubernetes, pkg/volume/util/atomic_writer.go).
func TestKubernetes(t *testing.T) {
	dir := t.TempDir()
	put := func(generation int, text string) {
		name := "..2026_01_0" + strconv.Itoa(generation)
		must(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		write(t, filepath.Join(dir, name, "routes.hcl"), text)
		must(t, os.Symlink(name, filepath.Join(dir, "..data_tmp")))
		must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	put(1, content("first"))
	file := filepath.Join(dir, "routes.hcl")
	must(t, os.Symlink(filepath.Join("..data", "routes.hcl"), file))
	r := start(t, file, nil)
	for i, name := range []string{"second", "third", "fourth"} {
		put(i+2, content(name))
		must(t, os.RemoveAll(filepath.Join(dir, "..2026_01_0"+strconv.Itoa(i+1))))
		r.wantTable(name)
	}
}

// TestLinkToElsewhere changes the target of a link, and then the link.
func TestLinkToElsewhere(t *testing.T) {
	target, other := newFile(t, content("first")), newFile(t, content("third"))
	file := filepath.Join(t.TempDir(), "routes.hcl")
	must(t, os.Symlink(target, file))
	r := start(t, file, nil)
	write(t, target, content("second"))
	r.wantTable("second")
	must(t, os.Symlink(other, file+".tmp"))
	must(t, os.Rename(file+".tmp", file))
	r.wantTable("third")
	write(t, other, content("fourth"))
	r.wantTable("fourth")
}

func TestReload(t *testing.T) {
	r := start(t, newFile(t, content("first")), func(s *Source) { s.settle = time.Hour; s.hurry = time.Hour })
	write(t, r.file, content("second"))
	r.Reload()
	r.wantTable("second")

	r.wantRead(true)
	r.Reload()
	r.wantRead(true)
	r.wantNoTable()
	if !strings.Contains(r.logs.String(), "nothing changed") {
		t.Error("the log does not say that nothing changed")
	}
}

func TestSameContent(t *testing.T) {
	r := start(t, newFile(t, content("first")), nil)
	write(t, r.file, "# commented\n"+content("first"))
	r.wantRead(true)
	r.wantNoTable()
	if !strings.Contains(r.logs.String(), "level=INFO msg=\"routes file read again, nothing changed\"") {
		t.Error("the log does not say that nothing changed")
	}
}

// TestLook reads the file only if it changed: other files of its directory cause
// events too.
func TestLook(t *testing.T) {
	file := newFile(t, content("first"))
	age(t, file)
	src := New(file)
	reads := 0
	src.OnReload = func(error) { reads++ }
	r := &reader{Source: src, log: slog.New(slog.DiscardHandler), publish: func(*route.Table) {}}
	must(t, r.first())
	w, err := newWatcher(file, fsnotify.NewWatcher)
	must(t, err)
	defer w.close()
	for _, step := range []struct {
		name   string
		change func()
		reads  int
	}{
		{"nothing", func() {}, 0},
		{"another file", func() { write(t, file+".bak", content("backup")) }, 0},
		{"written", func() { write(t, file, content("second")); age(t, file) }, 1},
		{"read already", func() {}, 1},
		{"gone", func() { must(t, os.Remove(file)) }, 2},
		{"still gone", func() {}, 2},
	} {
		step.change()
		if r.look(w); reads != step.reads {
			t.Errorf("%s: %d readings, want %d", step.name, reads, step.reads)
		}
	}
	if r.table.Route("second") == nil {
		t.Error("the last good table did not stay")
	}
}

func TestBadFileKeepsTheTable(t *testing.T) {
	r := start(t, newFile(t, content("first")), nil)
	bad := strings.Repeat("route \"x\" {}\n", maxLines+2)
	next := r.file + ".next"
	write(t, next, bad)
	must(t, os.Rename(next, r.file))
	err := r.wantRead(false)
	// Each route lacks a cluster, and all but the first are there twice.
	if p, ok := errors.AsType[Problems](err); !ok || len(p) != 2*maxLines+3 || !strings.HasPrefix(p[0], r.file+":1: ") {
		t.Errorf("OnReload got %v", err)
	}
	r.wantNoTable()
	log := r.logs.String()
	if got := strings.Count(log, "level=ERROR msg=\"problem in the routes file\""); got != maxLines {
		t.Errorf("%d problems are logged, want %d", got, maxLines)
	}
	for _, want := range []string{"the table stays as it was", r.file + ":1: ", "more=23"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not have %q", want)
		}
	}

	write(t, next, content("second"))
	must(t, os.Rename(next, r.file))
	r.wantTable("second")
}

func TestGoneAndBack(t *testing.T) {
	r := start(t, newFile(t, content("first")), nil)
	must(t, os.Remove(r.file))
	if err := r.wantRead(false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OnReload got %v", err)
	}
	r.wantNoTable()
	write(t, r.file, content("second"))
	r.wantTable("second")
}

// TestWithoutWatch is for systems that have no inotify instance left.
func TestWithoutWatch(t *testing.T) {
	r := start(t, newFile(t, content("first")), func(s *Source) {
		s.tick = 10 * time.Millisecond
		s.open = func() (*fsnotify.Watcher, error) { return nil, errors.New("too many open files") }
	})
	write(t, r.file, content("second"))
	r.wantTable("second")
	if !strings.Contains(r.logs.String(), "cannot watch") {
		t.Error("the log does not say that the file is not watched")
	}
}

// TestCountsLiveOn has a route's count of flows go over to the next table.
func TestCountsLiveOn(t *testing.T) {
	file := newFile(t, content("first"))
	r := &reader{Source: New(file), log: slog.New(slog.DiscardHandler), publish: func(*route.Table) {}}
	must(t, r.first())
	before := r.table.Route("first").Load
	write(t, file, strings.Replace(content("first"), "cluster =", "max_flows = 7\n  cluster =", 1))
	r.again()
	if got := r.table.Route("first"); got.MaxFlows != 7 || got.Load != before {
		t.Errorf("%+v, want max_flows 7 and the count of before", got)
	}
}

// TestBurst writes without a pause: the file is read though it is never quiet, and
// not for each change.
func TestBurst(t *testing.T) {
	r := start(t, newFile(t, content("first")), func(s *Source) {
		s.settle, s.hurry = time.Hour, 100*time.Millisecond
	})
	changes := 0
	for len(r.tables) == 0 && !t.Failed() {
		changes++
		write(t, r.file+".next", content("n"+strconv.Itoa(changes)))
		must(t, os.Rename(r.file+".next", r.file))
		if changes == 1_000_000 {
			t.Error("no table while the file changes")
		}
	}
	r.wantTable("n" + strconv.Itoa(changes))
	if n := strings.Count(r.logs.String(), "read again"); n > 2 {
		t.Errorf("read %d times for one burst", n)
	}
}
