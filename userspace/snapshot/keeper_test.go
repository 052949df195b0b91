package snapshot

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"sluice/userspace/route"
)

// run runs a keeper, and returns what ends it and gives the error of that.
func run(t *testing.T, k *Keeper) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			t.Error("Run does not end")
			return nil
		}
	})
	t.Cleanup(func() { stop() })
	return stop
}

// kept is the route that the table on disk has.
func kept(k *Keeper) string {
	t, _, err := Read(k.path)
	if err != nil {
		return err.Error()
	}
	for r := range t.Routes() {
		return r.Name
	}
	return ""
}

// with is a table with this route.
func with(t *testing.T, name string) *route.Table {
	return build(t, "xds", &route.Route{Name: name, Refuse: "test"})
}

func TestKeep(t *testing.T) {
	k, log := newKeeper(t, time.Millisecond)
	stop := run(t, k)
	k.Describe("dc1/gw", addrs("10.0.0.1:8443"))
	for _, name := range []string{"a", "b", "c"} {
		k.Keep(with(t, name))
		eventually(t, "kept", func() bool { return kept(k) == name })
	}
	_, meta, err := Read(k.path)
	if err != nil || meta.Source != "xds" || meta.Identity != "dc1/gw" || len(meta.Listeners) != 1 || time.Since(meta.Written) > patience {
		t.Errorf("%+v (error: %v)", meta, err)
	}
	k.Describe("dc2/gw", nil)
	eventually(t, "described", func() bool {
		_, meta, err := Read(k.path)
		return err == nil && meta.Identity == "dc2/gw" && meta.Listeners == nil
	})
	if err := stop(); err != nil || k.Failures() != 0 || log.text.Len() > 0 {
		t.Errorf("%v, %d failures, log %q", err, k.Failures(), log.text.String())
	}
}

// TestKeepIsSeldom: what comes in between is written last, and once.
func TestKeepIsSeldom(t *testing.T) {
	k, _ := newKeeper(t, time.Hour)
	stop := run(t, k)
	k.Keep(with(t, "first"))
	eventually(t, "kept", func() bool { return kept(k) == "first" })
	for _, name := range []string{"second", "third", "last"} {
		k.Keep(with(t, name))
	}
	if got := kept(k); got != "first" {
		t.Errorf("%s was written at once", got)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if got := kept(k); got != "last" {
		t.Errorf("in the end: %s", got)
	}
}

// TestEndWritesWhatIsNew and nothing else: a gateway that ends must not replace what
// the one after it has written.
func TestEndWritesWhatIsNew(t *testing.T) {
	k, _ := newKeeper(t, time.Hour)
	stop := run(t, k)
	k.Keep(with(t, "ours"))
	eventually(t, "kept", func() bool { return kept(k) == "ours" })
	if err := Write(k.path, with(t, "theirs"), Meta{Source: "xds"}); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if got := kept(k); got != "theirs" {
		t.Errorf("in the end: %s", got)
	}
}

func TestEndBeforeBegin(t *testing.T) {
	k, _ := newKeeper(t, time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	k.Keep(with(t, "a"))
	if err := k.Run(ctx); err != nil || kept(k) != "a" {
		t.Errorf("%s (error: %v)", kept(k), err)
	}
	nothing, _ := newKeeper(t, time.Hour)
	nothing.Describe("dc1/gw", nil)
	if err := nothing.Run(ctx); err != nil || names(t, filepath.Dir(nothing.path)) != "" {
		t.Errorf("without a table: %v", err)
	}
}

func TestDiskFails(t *testing.T) {
	k, log := newKeeper(t, time.Millisecond)
	dir := filepath.Dir(k.path)
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	stop := run(t, k)
	k.Keep(with(t, "a"))
	eventually(t, "tried again and again", func() bool { return k.Failures() >= 5 })
	if n := log.count("cannot be kept"); n != 1 {
		t.Errorf("%d lines in the log", n)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // another error
		t.Fatal(err)
	}
	eventually(t, "told", func() bool { return log.count("not a directory") == 1 })
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	eventually(t, "kept", func() bool { return kept(k) == "a" })
	eventually(t, "told", func() bool { return log.count("kept on disk again") == 1 })
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	k.Keep(with(t, "b"))
	if err := stop(); err == nil {
		t.Error("no error of the last time")
	}
}

func TestSweep(t *testing.T) {
	k, _ := newKeeper(t, time.Hour)
	dir := filepath.Dir(k.path)
	past := time.Now().Add(-2 * leftover)
	for name, old := range map[string]bool{
		"table": true, "table.1.tmp": true, "table.2.tmp": false, "table.txt": true, "other.1.tmp": true,
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if old {
			if err := os.Chtimes(path, past, past); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := run(t, k)(); err != nil {
		t.Error(err)
	}
	if got, want := names(t, dir), "other.1.tmp table table.2.tmp table.txt"; got != want {
		t.Errorf("left %s, want %s", got, want)
	}
}

// TestKeepFromMany is for the race detector.
func TestKeepFromMany(t *testing.T) {
	k, _ := newKeeper(t, 0)
	stop := run(t, k)
	tables := []*route.Table{with(t, "a"), with(t, "b")}
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for range 200 {
				k.Keep(tables[i%2])
				k.Describe("dc1/gw", addrs("10.0.0.1:8443")[:i%2])
				k.Failures()
			}
		})
	}
	all.Wait()
	k.Keep(with(t, "last"))
	if err := stop(); err != nil || kept(k) != "last" {
		t.Errorf("%s (error: %v)", kept(k), err)
	}
}
