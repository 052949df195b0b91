package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	root   = "/run/sluice-lab"
	netnss = "/run/netns"

	recordFile = "lab.json"
	keptFile   = "kept"
	filesDir   = "files"
)

// claim is a lab as it stands under root: a directory, its record, and the lock on
// the record that tells the owner to be alive.
type claim struct {
	id   string
	lock *os.File
	record
}

// record is what must be known to remove a lab whose owner is gone.
type record struct {
	PID        int      // of the owner, for a person who looks; the lock decides
	Namespaces []string // full names, complete before the first is made
}

func (c *claim) dir() string   { return filepath.Join(root, c.id) }
func (c *claim) files() string { return filepath.Join(c.dir(), filesDir) }

var validPrefix = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// newClaim sweeps the labs that nobody owns and claims a new one with the first
// number that is free.
func newClaim(prefix string, chain []string) (*claim, error) {
	if !validPrefix.MatchString(prefix) {
		return nil, fmt.Errorf("prefix %q: want words of a-z and 0-9, joined by hyphens", prefix)
	}
	unlock, err := lockRoot()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if _, err := sweep(func(id string) bool { return false }); err != nil {
		return nil, err
	}
	for i := 1; ; i++ {
		c := &claim{id: fmt.Sprintf("%s-%d", prefix, i), record: record{PID: os.Getpid()}}
		for _, name := range chain {
			c.Namespaces = append(c.Namespaces, c.id+"-"+name)
		}
		if err := os.Mkdir(c.dir(), 0o755); errors.Is(err, fs.ErrExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		if taken(c.Namespaces) {
			if err := os.Remove(c.dir()); err != nil {
				return nil, err
			}
			continue
		}
		if err := c.write(); err != nil {
			return nil, errors.Join(fmt.Errorf("claim %s: %w", c.id, err), os.RemoveAll(c.dir()))
		}
		return c, nil
	}
}

// taken tells whether somebody else has a namespace of one of the names.
func taken(names []string) bool {
	for _, name := range names {
		if _, err := os.Lstat(filepath.Join(netnss, name)); err == nil {
			return true
		}
	}
	return false
}

// write makes the record and takes its lock.
func (c *claim) write() error {
	if err := os.Mkdir(c.files(), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(c.dir(), recordFile), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		err = json.NewEncoder(f).Encode(c.record)
	}
	if err != nil {
		f.Close()
		return err
	}
	c.lock = f
	return nil
}

// keep marks the lab as left on purpose, then gives up the lock.
func (c *claim) keep() error {
	if err := os.WriteFile(filepath.Join(c.dir(), keptFile), nil, 0o644); err != nil {
		return err
	}
	return c.lock.Close()
}

// destroy removes the lab. The lock is held to the end: were it given up first,
// a sweep could remove the lab and another owner claim its name meanwhile.
func (c *claim) destroy() error {
	defer c.lock.Close()
	var errs []error
	for _, name := range c.Namespaces {
		errs = append(errs, removeNamespace(name))
	}
	errs = append(errs, c.unmountBPF())
	if err := errors.Join(errs...); err != nil {
		return err // the record stays, so that the next sweep tries again
	}
	// The record goes last, for the same reason.
	if err := os.RemoveAll(c.files()); err != nil {
		return err
	}
	return os.RemoveAll(c.dir())
}

// removeNamespace ends what runs in a named namespace and removes the name.
func removeNamespace(name string) error {
	path := filepath.Join(netnss, name)
	if err := killIn(path); err != nil {
		return fmt.Errorf("end the processes in %s: %w", name, err)
	}
	// Not a mount point if the owner was killed just before it made it one.
	err := unix.Unmount(path, unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Down removes the labs of that prefix that were kept, and those whose owner is
// gone; it leaves alone those whose owner lives. It returns the names of those
// removed.
func Down(prefix string) ([]string, error) {
	unlock, err := lockRoot()
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	defer unlock()
	return sweep(func(id string) bool {
		number, ok := strings.CutPrefix(id, prefix+"-")
		return ok && !strings.Contains(number, "-")
	})
}

// sweep removes the labs that nobody owns; of those that were kept, only the ones
// that unkeep says. The root must be locked.
func sweep(unkeep func(id string) bool) (removed []string, err error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		c, err := adopt(e.Name())
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("sweep %s: %w", e.Name(), err))
			continue
		case c == nil:
			continue
		}
		_, err = os.Lstat(filepath.Join(c.dir(), keptFile))
		if kept := err == nil; kept && !unkeep(c.id) {
			c.lock.Close()
			continue
		}
		if err := c.destroy(); err != nil {
			errs = append(errs, fmt.Errorf("sweep %s: %w", c.id, err))
			continue
		}
		removed = append(removed, c.id)
	}
	return removed, errors.Join(errs...)
}

// adopt takes over the lab of that name if its owner is gone; nil if it is not.
func adopt(id string) (*claim, error) {
	c := &claim{id: id}
	// Created if absent: the owner was killed between the directory and the record.
	f, err := os.OpenFile(filepath.Join(c.dir(), recordFile), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	c.lock = f
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, nil
		}
		return nil, err
	}
	// An empty or cut-off record is one whose owner did not come to making
	// namespaces.
	if err := json.NewDecoder(f).Decode(&c.record); err != nil {
		c.Namespaces = nil
	}
	if err := c.check(id); err != nil {
		f.Close()
		return nil, err
	}
	return c, nil
}

// check refuses a record that names what cannot be the lab's own.
func (r record) check(id string) error {
	for _, name := range r.Namespaces {
		if !strings.HasPrefix(name, id+"-") || strings.Contains(name, "/") {
			return fmt.Errorf("the record names %q, which is not the lab's", name)
		}
	}
	return nil
}

// lockRoot makes the root directory and locks it. Others hold it only while they
// sweep and claim.
func lockRoot() (unlock func(), err error) {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	f, err := os.Open(root)
	if err != nil {
		return nil, err
	}
	const patience = 30 * time.Second
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		busy := errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR)
		if !busy || time.Now().After(deadline) {
			f.Close()
			return nil, fmt.Errorf("lock %s within %v: %w", root, patience, err)
		}
	}
}
