package harness

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

var bpffs struct {
	once sync.Once
	path string
	err  error
}

// BPF is a directory of a BPF file system that gateways may pin in, mounted once per
// test process.
func BPF(t testing.TB) string {
	t.Helper()
	bpffs.once.Do(func() {
		if bpffs.path, bpffs.err = os.MkdirTemp("", "sluice-test-bpf-"); bpffs.err == nil {
			bpffs.err = unix.Mount("bpf", bpffs.path, "bpf", 0, "")
		}
	})
	if bpffs.err != nil {
		t.Fatal("mount a BPF file system: ", bpffs.err)
	}
	return filepath.Join(bpffs.path, "sluice")
}

// removeBPF undoes BPF.
func removeBPF() {
	if bpffs.path != "" {
		_ = unix.Unmount(bpffs.path, unix.MNT_DETACH)
		_ = os.Remove(bpffs.path)
	}
}
