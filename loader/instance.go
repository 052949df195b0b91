package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrInUse is for a generation whose process lives.
var ErrInUse = errors.New("in use by a running process")

const (
	unfinished = "new-" // begins the name of a directory that is being filled
	lockWait   = 10 * time.Second
)

// bpffs reserves dots in names, and slashes would lead elsewhere.
var validName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func checkInstanceName(name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("instance name %q: only letters, digits, - and _, at most 64 of them", name)
	}
	return nil
}

// instance is the directory of an instance, locked against others that want to
// change its list of generations.
type instance struct {
	dir  string
	lock *os.File
}

// openInstance locks the directory of an instance, and makes it when missing.
func openInstance(root, name string) (*instance, error) {
	if err := checkInstanceName(name); err != nil {
		return nil, err
	}
	if err := checkBPFFS(root); err != nil {
		return nil, err
	}
	dir := filepath.Join(root, name)
	if err := makeDirs(root, dir); err != nil {
		return nil, err
	}
	return lockInstance(dir)
}

func lockInstance(dir string) (*instance, error) {
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		lock, err := lockDir(dir)
		if err == nil {
			return &instance{dir, lock}, nil
		}
		// Whoever has it holds it for the moment in which it loads.
		if !errors.Is(err, ErrInUse) || time.Since(start) > lockWait {
			return nil, err
		}
	}
}

func (i *instance) close() { i.lock.Close() }

// sweep removes the generations that nobody needs any more.
func (i *instance) sweep() error {
	names, err := generations(i.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		g, err := claim(i.dir, name)
		if errors.Is(err, ErrInUse) || errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if g.abandoned() {
			err = g.remove()
		}
		g.release()
		if err != nil {
			return err
		}
	}
	return nil
}

// begin makes the directory of the next generation, under its unfinished name.
func (i *instance) begin() (*generation, error) {
	names, err := generations(i.dir)
	if err != nil {
		return nil, err
	}
	last := 0
	for _, name := range names {
		if n, err := strconv.Atoi(strings.TrimPrefix(name, unfinished)); err == nil {
			last = max(last, n)
		}
	}
	name := unfinished + strconv.Itoa(last+1)
	if err := makeDirs(filepath.Join(i.dir, name)); err != nil {
		return nil, err
	}
	return claim(i.dir, name)
}

// generations lists the names of the directories of generations. The table's are not
// among them.
func generations(dir string) ([]string, error) {
	names, err := directories(dir)
	return slices.DeleteFunc(names, func(name string) bool {
		_, table := tableNumber(strings.TrimPrefix(name, unfinished))
		return table
	}), err
}

// makeDirs makes directories that the group may look into, and others may not.
func makeDirs(dirs ...string) error {
	for _, dir := range dirs {
		if err := os.Mkdir(dir, 0o750); errors.Is(err, os.ErrExist) {
			continue
		} else if err != nil {
			return fmt.Errorf("make a directory for pins: %w", err)
		}
		if err := os.Chmod(dir, 0o750); err != nil { // whatever the umask
			return fmt.Errorf("make a directory for pins: %w", err)
		}
	}
	return nil
}

// checkBPFFS fails when root, which may be yet to be made, is not on a BPF file system.
func checkBPFFS(root string) error {
	var st unix.Statfs_t
	dir := filepath.Clean(root)
	err := unix.Statfs(dir, &st)
	if errors.Is(err, os.ErrNotExist) {
		dir = filepath.Dir(dir)
		err = unix.Statfs(dir, &st)
	}
	if err != nil {
		return fmt.Errorf("look at %s, where pins are to go: %w", dir, err)
	}
	if int64(st.Type) != unix.BPF_FS_MAGIC {
		return fmt.Errorf("%s is not on a BPF file system: mount one (mount -t bpf bpf /sys/fs/bpf), or choose another directory", dir)
	}
	return nil
}

// Who only looks whether a lock is held has it for a moment (see alive), and must not be
// taken for who holds it.
const (
	lockTries = 5
	lockPause = 2 * time.Millisecond
)

// lockDir takes the lock on a directory, which lasts until the file is closed.
func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open a directory of pins: %w", err)
	}
	for try := 1; ; try++ {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EWOULDBLOCK || try == lockTries {
			break
		}
		time.Sleep(lockPause)
	}
	if err != nil {
		f.Close()
		if err == unix.EWOULDBLOCK {
			err = ErrInUse
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return f, nil
}
