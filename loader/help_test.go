package loader

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// needRoot skips tests that load programs.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: it loads BPF programs and mounts a BPF file system")
	}
}

// bpffs mounts a BPF file system for the test, and returns a directory on it.
func bpffs(t testing.TB) string {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		t.Fatalf("mount a BPF file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir + "/sluice"
}

// loadFor loads the program for the test.
func loadFor(t testing.TB, opts Options) *Datapath {
	t.Helper()
	if opts.Root == "" {
		opts.Root = bpffs(t)
	}
	if opts.Flows == 0 {
		opts.Flows = 64
	}
	d, err := Load(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}
