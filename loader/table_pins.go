package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// tables are the directories of tables in an instance's.
type tables struct {
	parent string
	ours   []string // of this ABI, the latest last
	next   string   // the name for another
	notes  []string
}

// tableNumber is 1 for "table", 2 for "table-2", and false for other names.
func tableNumber(name string) (int, bool) {
	if name == tableDir {
		return 1, true
	}
	digits, ok := strings.CutPrefix(name, tableDir+"-")
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil && n > 1 && strconv.Itoa(n) == digits
}

func tableName(number int) string {
	if number == 1 {
		return tableDir
	}
	return tableDir + "-" + strconv.Itoa(number)
}

func findTables(parent string) (*tables, error) {
	names, err := directories(parent)
	if err != nil {
		return nil, err
	}
	last := 0
	numbers := map[int]bool{}
	for _, name := range names {
		if n, ok := tableNumber(name); ok {
			numbers[n] = true
			last = max(last, n)
		}
	}
	t := &tables{parent: parent, next: tableName(last + 1)}
	for n := 1; n <= last; n++ {
		if !numbers[n] {
			continue
		}
		dir := filepath.Join(parent, tableName(n))
		id, err := readIdentity(dir)
		switch {
		case err == nil && id == Identity{tableMagic, TableABI}:
			t.ours = append(t.ours, tableName(n))
		case errors.Is(err, os.ErrPermission):
			return nil, err
		case err == nil && id.Magic == tableMagic:
			t.notes = append(t.notes, fmt.Sprintf("%s has ABI %d, and this Sluice knows %d: left alone", dir, id.ABI, TableABI))
		default:
			t.notes = append(t.notes, fmt.Sprintf("%s is not a table of Sluice's: left alone", dir))
		}
	}
	return t, nil
}

// pin pins the maps for the group to read, the identity first, by which they are known.
func (t *Table) pin(group int) error {
	if err := makeDirs(t.dir); err != nil {
		return err
	}
	var err error
	if t.lock, err = lockDir(t.dir); err != nil {
		return err
	}
	names := []string{identityPin}
	for name := range t.maps {
		if name != identityPin {
			names = append(names, name)
		}
	}
	for _, name := range names {
		path := filepath.Join(t.dir, name)
		if err := t.maps[name].Pin(path); err != nil {
			return fmt.Errorf("pin %s: %w", name, err)
		}
		if err := os.Chmod(path, 0o640); err != nil {
			return fmt.Errorf("let a group read a pin: %w", err)
		}
	}
	return t.share(group)
}

// share lets a group read the pins, and find them.
func (t *Table) share(group int) error {
	if group == 0 {
		return nil
	}
	paths := []string{"../..", "..", "."}
	for name := range t.maps {
		paths = append(paths, name)
	}
	for _, path := range paths {
		if err := os.Chown(filepath.Join(t.dir, path), -1, group); err != nil {
			return fmt.Errorf("give pins to group %d: %w", group, err)
		}
	}
	return nil
}

// commit gives the directory its name.
func (t *Table) commit(dir string) error {
	if err := os.Rename(t.dir, dir); err != nil {
		return fmt.Errorf("commit the pins: %w", err)
	}
	t.dir = dir
	return nil
}

// UnloadTable removes the pinned maps of an instance's table, and nothing else of the
// instance's. The error is ErrInUse when a process writes to them. Those of another ABI,
// or not of Sluice's, are left alone.
func UnloadTable(root, name string) error {
	opts := TableOptions{Root: root, Instance: name}.withDefaults()
	if err := checkInstanceName(opts.Instance); err != nil {
		return err
	}
	dir := filepath.Join(opts.Root, opts.Instance)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	inst, err := lockInstance(dir)
	if err != nil {
		return err
	}
	defer inst.close()
	found, err := findTables(dir)
	if err != nil {
		return err
	}
	// The last one first: it is the one that may be in use.
	for _, name := range slices.Backward(found.ours) {
		lock, err := lockDir(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		err = removeTable(filepath.Join(dir, name))
		lock.Close()
		if err != nil {
			return err
		}
	}
	return removeTable(filepath.Join(dir, unfinished+tableDir))
}

// directories lists the names of directories in an instance's.
func directories(parent string) ([]string, error) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return nil, fmt.Errorf("list the directories of pins: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// removeTable removes a directory of a table's pins, if there is one. One of another
// ABI, or that is not Sluice's, is left alone.
func removeTable(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list pins: %w", err)
	}
	if id, err := readIdentity(dir); len(entries) > 0 && (err != nil || id != Identity{tableMagic, TableABI}) {
		return fmt.Errorf("%s is not a table of this ABI: left alone", dir)
	}
	// The identity goes last: what is left by a crash in between is still known.
	for _, e := range entries {
		if e.Name() == identityPin {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("unpin: %w", err)
		}
	}
	if err := os.Remove(filepath.Join(dir, identityPin)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("unpin: %w", err)
	}
	if err := os.Remove(dir); err != nil {
		return fmt.Errorf("remove the directory of pins: %w", err)
	}
	return nil
}
