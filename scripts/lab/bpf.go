package lab

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// bpfDir is where the lab's BPF file system is, in its directory.
const bpfDir = "bpf"

// BPF mounts a BPF file system of the lab's own, for those in it to pin in, and returns
// where. It goes away with the lab.
func (l *Lab) BPF() (dir string, err error) {
	dir = filepath.Join(l.Dir, bpfDir)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", fmt.Errorf("lab %s: %w", l.ID, err)
	}
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		return "", fmt.Errorf("lab %s: mount a BPF file system: %w", l.ID, err)
	}
	return dir, nil
}
