package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"sluice/userspace/slot"
)

var errPermission = unix.EPERM

// Generation is what can be seen of a process's pins from outside.
type Generation struct {
	Instance string
	Name     string
	Identity Identity
	Foreign  bool   // it is not Sluice's, or of another ABI: the rest is not known
	Alive    bool   // its process is
	Tag      string // of the program
	Sockets  int    // in the kernel's hands
	Counters [slot.Reasons]uint64
}

// List looks at all generations below root. It only reads.
func List(root string) ([]Generation, error) {
	if root == "" {
		root = DefaultRoot
	}
	instances, err := os.ReadDir(root)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list instances: %w", err)
	}
	var all []Generation
	for _, inst := range instances {
		dir := filepath.Join(root, inst.Name())
		names, err := generations(dir)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			g, err := look(dir, name)
			if errors.Is(err, os.ErrNotExist) {
				continue // it went away just now
			}
			if err != nil {
				return nil, err
			}
			g.Instance = inst.Name()
			all = append(all, g)
		}
	}
	return all, nil
}

// look reads one generation.
func look(parent, name string) (Generation, error) {
	dir := filepath.Join(parent, name)
	g := Generation{Name: name}
	var err error
	if g.Alive, err = alive(dir); err != nil {
		return g, err
	}
	g.Identity, err = readIdentity(dir)
	if err != nil || g.Identity != (Identity{magic, ABI}) {
		g.Foreign = true
		return g, nil
	}
	if g.Sockets, err = countSockets(filepath.Join(dir, "sockets")); err != nil {
		return g, err
	}
	m, err := ebpf.LoadPinnedMap(filepath.Join(dir, "counters"), &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return g, fmt.Errorf("open the counters: %w", err)
	}
	defer m.Close()
	if g.Counters, err = readCounters(m); err != nil {
		return g, err
	}
	g.Tag, err = readTag(filepath.Join(dir, "verdict"))
	return g, err
}

// alive tells whether a process holds the lock on a directory. It takes a shared
// one for a moment, which others who look do not mind.
func alive(dir string) (bool, error) {
	f, err := os.Open(dir)
	if err != nil {
		return false, fmt.Errorf("open a directory of pins: %w", err)
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if err == unix.EWOULDBLOCK {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("lock %s: %w", dir, err)
	}
	return false, nil
}

// readTag is the kernel's checksum of a pinned program.
func readTag(pin string) (string, error) {
	p, err := ebpf.LoadPinnedProgram(pin, &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return "", fmt.Errorf("open the program: %w", err)
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return "", fmt.Errorf("ask for the program's tag: %w", err)
	}
	return info.Tag, nil
}

// Unload removes all traces of an instance: every generation, and the directories.
// It changes nothing when one of them belongs to a running process (ErrInUse), or
// is not Sluice's.
func Unload(root, name string) error {
	if root == "" {
		root = DefaultRoot
	}
	if err := checkInstanceName(name); err != nil {
		return err
	}
	dir := filepath.Join(root, name)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	inst, err := lockInstance(dir)
	if err != nil {
		return err
	}
	defer inst.close()
	all, err := inst.claimAll()
	if err != nil {
		return err
	}
	for _, g := range all {
		err = errors.Join(err, g.remove())
	}
	if err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil {
		return fmt.Errorf("remove the instance's directory: %w", err)
	}
	// Others may have instances too, or it is where the file system is mounted.
	if err := os.Remove(root); err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("remove the directory of instances: %w", err)
	}
	return nil
}

// claimAll locks every generation of the instance, or none.
func (i *instance) claimAll() ([]*generation, error) {
	names, err := generations(i.dir)
	if err != nil {
		return nil, err
	}
	var all []*generation
	for _, name := range names {
		g, e := claim(i.dir, name)
		if e == nil {
			all = append(all, g)
			if id, err := readIdentity(g.dir()); err == nil && id.Magic != magic {
				e = fmt.Errorf("%s is not Sluice's: left alone", g.dir())
			}
		}
		err = errors.Join(err, e)
	}
	if err != nil {
		for _, g := range all {
			g.release()
		}
		return nil, err
	}
	return all, nil
}
