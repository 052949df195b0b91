package consul_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"sluice/scripts/consul"
)

// program writes an executable shell script.
func program(t *testing.T, path, script string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755))
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	named, onPath := filepath.Join(dir, "mine"), filepath.Join(dir, "bin", "consul")
	cached := filepath.Join(dir, "cache", "sluice", "consul-"+consul.Version)
	t.Setenv("CONSUL_BIN", "")
	t.Setenv("PATH", filepath.Join(dir, "bin"))
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	if got, err := consul.Find(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("found %q, error %v, where there is none", got, err)
	}
	want := func(path string) {
		t.Helper()
		for _, find := range []func() (string, error){
			consul.Find,
			func() (string, error) { return consul.Binary(t.Context(), io.Discard) },
		} {
			if got, err := find(); err != nil || got != path {
				t.Errorf("found %q, error %v, want %q", got, err, path)
			}
		}
	}
	// From the weakest to the strongest.
	program(t, cached, "")
	want(cached)
	program(t, onPath, "")
	want(onPath)
	program(t, named, "")
	t.Setenv("CONSUL_BIN", named)
	want(named)

	// One that was named is not to be replaced by another one.
	t.Setenv("CONSUL_BIN", filepath.Join(dir, "nothing"))
	if got, err := consul.Binary(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "CONSUL_BIN") {
		t.Errorf("found %q, error %v, where CONSUL_BIN names nothing", got, err)
	}
}

// TestBuild runs a build with a go command that only says what it would do.
func TestBuild(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CONSUL_BIN", "")
	t.Setenv("PATH", filepath.Join(dir, "bin")+":/usr/bin:/bin")
	t.Setenv("XDG_CACHE_HOME", dir)
	must(t, os.MkdirAll(filepath.Join(dir, "tests", "consul"), 0o755))
	want := filepath.Join(dir, "sluice", "consul-"+consul.Version)

	goes := fmt.Sprintf(`case $1 in
list) echo %s ;;
build) echo some/package >&2; %%s; while [ "$1" != -o ]; do shift; done; echo "$PWD $CGO_ENABLED" >"$2" ;;
esac`, dir)
	program(t, filepath.Join(dir, "bin", "go"), fmt.Sprintf(goes, "echo no such thing >&2; exit 1"))
	var out bytes.Buffer
	_, err := consul.Binary(t.Context(), &out)
	if err == nil || !strings.Contains(err.Error(), "no such thing") {
		t.Errorf("error of a build that failed: %v", err)
	}
	if _, err := os.Stat(want); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a build that failed left a program: %v", err)
	}

	program(t, filepath.Join(dir, "bin", "go"), fmt.Sprintf(goes, ":"))
	got, err := consul.Binary(t.Context(), &out)
	if err != nil || got != want {
		t.Fatalf("built %q, error %v, want %q", got, err, want)
	}
	text, err := os.ReadFile(got)
	must(t, err)
	if got, want := string(text), filepath.Join(dir, "tests", "consul")+" 0\n"; got != want {
		t.Errorf("built in and with %q, want %q", got, want)
	}
	if !strings.Contains(out.String(), "minutes") || !strings.Contains(out.String(), "built in") {
		t.Errorf("progress: %q", out.String())
	}

	must(t, os.Remove(want))
	program(t, filepath.Join(dir, "bin", "go"), fmt.Sprintf(goes, "sleep 1000"))
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err = consul.Binary(ctx, whenTold(func() { cancel(errors.New("enough")) }))
	if err == nil || !strings.Contains(err.Error(), "enough") {
		t.Errorf("error of a build that was cancelled: %v", err)
	}
}

// whenTold is called when something is written.
type whenTold func()

func (f whenTold) Write(b []byte) (int, error) {
	f()
	return len(b), nil
}

// TestBuildOnce has many want the program at once.
func TestBuildOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dir", "consul")
	var builds atomic.Int64
	release := make(chan bool)
	build := func(_ context.Context, _ io.Writer, to string) error {
		builds.Add(1)
		<-release
		return os.WriteFile(to, []byte("whole"), 0o755)
	}
	const n = 8
	errs := make(chan error, n)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() { errs <- consul.BuildOnce(t.Context(), io.Discard, path, build) })
	}
	eventually(t, "one to build", func() error {
		if builds.Load() == 0 {
			return errors.New("nobody does")
		}
		return nil
	})
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if err := consul.BuildOnce(ctx, io.Discard, path, build); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Errorf("error of one who gave up waiting: %v", err)
	}
	close(release)
	wg.Wait()
	close(errs)
	for err := range errs {
		must(t, err)
	}
	if got := builds.Load(); got != 1 {
		t.Errorf("%d builds, want one", got)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "whole" {
		t.Errorf("built %q, error %v", text, err)
	}
}

// TestVersion looks whether what is built is what its file in the cache is called.
func TestVersion(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(moduleRoot(t), "tests", "consul", "go.mod"))
	must(t, err)
	if want := "github.com/hashicorp/consul v" + consul.Version; !slices.ContainsFunc(strings.Split(string(text), "\n"), func(line string) bool {
		line, _, _ = strings.Cut(line, "//")
		return strings.TrimSpace(strings.TrimPrefix(line, "require")) == want
	}) {
		t.Errorf("tests/consul/go.mod does not require %s", want)
	}
}
