package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sluice/tests/harness"
)

// TestPins: what a killed gateway has pinned is in nobody's way, and unload removes
// it, but nothing of a gateway that runs.
func TestPins(t *testing.T) {
	s := newSite(t, path{name: "sockmap"}, oneHop, "-instance", "pins")
	g, dir := s.gateways[0], filepath.Join(harness.BPF(t), "pins")
	f := s.open(t)
	harness.All(t, bothWays(f, 1<<20, 1<<20, 64<<10)...)
	if out, err := unload(t, "pins"); err == nil || !strings.Contains(out, "stop the gateway first") {
		t.Errorf("unload while it runs: %v: %s", err, out)
	}
	for range 3 {
		g.Kill()
		g.Restart()
		harness.All(t, bothWays(s.open(t), 1<<20, 1<<20, 64<<10)...)
		if now := generations(t, dir); len(now) != 2 { // a generation, and the table
			t.Errorf("pinned: %v", now)
		}
	}
	g.Kill()
	if out, err := unload(t, "pins"); err != nil || !strings.Contains(out, "nothing of instance pins is left") {
		t.Errorf("unload: %v: %s", err, out)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory is there: %v", err)
	}
	if out, err := unload(t, "pins"); err != nil {
		t.Errorf("unload of nothing: %v: %s", err, out)
	}
	for _, name := range []string{"../pins", "", "a/b"} {
		if out, err := unload(t, name); err == nil {
			t.Errorf("unload of %q: %s", name, out)
		}
	}
}

func unload(t *testing.T, instance string) (string, error) {
	out, err := exec.CommandContext(t.Context(), harness.Binary(t), "unload", "-bpf-dir", harness.BPF(t), "-instance", instance).CombinedOutput()
	return string(out), err
}

// generations are those pinned by an instance.
func generations(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	harness.Must(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
