package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"

	"github.com/cilium/ebpf"
)

// MapInfo is what can be said of any map.
type MapInfo struct {
	Name      string `json:"name"`
	Type      string `json:"type"`    // "LPMTrie", "Hash", "Array" ...
	Entries   int    `json:"entries"` // an array has all of its entries always; -1: of a type that cannot be counted
	Max       int    `json:"max"`
	KeySize   int    `json:"key_size"`
	ValueSize int    `json:"value_size"` // of one processor's
	Bytes     uint64 `json:"bytes"`      // of kernel memory; 0: the kernel does not tell
	Path      string `json:"path"`       // of the pin
}

// Maps lists all pinned maps of an instance: those of its table, and those of its
// generations. It only reads. Directories that are not Sluice's are left out, and so are
// those that it has no right to read, unless that is all there is: a group may read the
// table's alone.
func Maps(root, name string) ([]MapInfo, error) {
	opts := TableOptions{Root: root, Instance: name}.withDefaults()
	if err := checkInstanceName(opts.Instance); err != nil {
		return nil, err
	}
	parent := filepath.Join(opts.Root, opts.Instance)
	dirs, err := directories(parent)
	if err != nil {
		return nil, err
	}
	var all []MapInfo
	var denied error
	for _, dir := range dirs {
		dir = filepath.Join(parent, dir)
		id, err := readIdentity(dir)
		if errors.Is(err, os.ErrPermission) {
			denied = err
			continue
		}
		if err != nil || id.Magic != magic && id.Magic != tableMagic {
			continue
		}
		pins, err := os.ReadDir(dir)
		if err != nil {
			return nil, fmt.Errorf("list pins: %w", err)
		}
		for _, pin := range pins {
			info, ok, err := lookAtMap(filepath.Join(dir, pin.Name()))
			if err != nil {
				return nil, err
			}
			if ok {
				all = append(all, info)
			}
		}
	}
	if len(all) == 0 {
		return nil, denied
	}
	return all, nil
}

// lookAtMap is false for a pin that is no map, or is gone.
func lookAtMap(path string) (info MapInfo, ok bool, err error) {
	m, err := ebpf.LoadPinnedMap(path, &ebpf.LoadPinOptions{ReadOnly: true})
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrInvalid):
		return MapInfo{}, false, nil
	case errors.Is(err, os.ErrPermission):
		return MapInfo{}, false, fmt.Errorf("open the pin %s: %w", path, err)
	case err != nil:
		return MapInfo{}, false, nil // of a program
	}
	defer m.Close()
	info = MapInfo{
		Name: filepath.Base(path), Type: m.Type().String(), Max: int(m.MaxEntries()),
		KeySize: int(m.KeySize()), ValueSize: int(m.ValueSize()), Path: path,
	}
	if i, err := m.Info(); err == nil {
		info.Bytes, _ = i.Memlock()
	}
	info.Entries, err = entries(m)
	return info, true, err
}

// entries counts what is in a map.
func entries(m *ebpf.Map) (int, error) {
	switch m.Type() {
	case ebpf.Array, ebpf.PerCPUArray, ebpf.ArrayOfMaps:
		return int(m.MaxEntries()), nil
	case ebpf.RingBuf:
		return -1, nil
	case ebpf.Hash, ebpf.LPMTrie: // they may be large
		n := 0
		err := eachBatch(m, arrays(m.KeySize()).Interface(), arrays(m.ValueSize()).Interface(), func(count int) error { n += count; return nil })
		if !errors.Is(err, ebpf.ErrNotSupported) {
			return n, err
		}
	}
	return count(m)
}

// Entry is what a map has under one key.
type Entry struct{ Key, Value []byte } // in the kernel's layout; of a map by processor, one value after the other

// Entries calls each with all entries of a map of the table, by the name of its pin, in
// no order. What it gets is its own only until it returns. Package mirror decodes it.
func (t *Table) Entries(name string, each func(Entry)) error {
	m := t.maps[name]
	if m == nil {
		return fmt.Errorf("there is no map %q", name)
	}
	var err error = ebpf.ErrNotSupported
	if m.Type() == ebpf.Hash || m.Type() == ebpf.LPMTrie {
		keys, values := arrays(m.KeySize()), arrays(m.ValueSize())
		err = eachBatch(m, keys.Interface(), values.Interface(), func(n int) error {
			for i := range n {
				each(Entry{bytesAt(keys, i), bytesAt(values, i)})
			}
			return nil
		})
	}
	if errors.Is(err, ebpf.ErrNotSupported) {
		err = walkBytes(m, each)
	}
	if err != nil {
		return fmt.Errorf("read the map %s: %w", name, err)
	}
	return nil
}

// walkBytes is for maps that are small, or cannot be read many entries at a time.
func walkBytes(m *ebpf.Map, each func(Entry)) error {
	key := make([]byte, m.KeySize())
	var prev any
	for range 4 * int(m.MaxEntries()) {
		err := m.NextKey(prev, key)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		prev = key
		value, err := m.LookupBytes(key)
		if err != nil {
			return err
		}
		if value != nil { // or it went away just now
			each(Entry{key, value})
		}
	}
	return nil
}

// arrays is a slice of arrays of bytes, for as many entries as are read at a time.
func arrays(size uint32) reflect.Value {
	return reflect.MakeSlice(reflect.SliceOf(reflect.ArrayOf(int(size), reflect.TypeFor[byte]())), batchSize, batchSize)
}

func bytesAt(list reflect.Value, i int) []byte { return list.Index(i).Bytes() }

// Entry is the one of a key, and false when there is none; in routes it is that of the
// longest key that begins the given one.
func (t *Table) Entry(name string, key []byte) (Entry, bool, error) {
	m := t.maps[name]
	if m == nil {
		return Entry{}, false, fmt.Errorf("there is no map %q", name)
	}
	if len(key) != int(m.KeySize()) {
		return Entry{}, false, fmt.Errorf("a key of the map %s has %d bytes, not %d", name, m.KeySize(), len(key))
	}
	value, err := m.LookupBytes(key)
	if err != nil {
		return Entry{}, false, fmt.Errorf("read the map %s: %w", name, err)
	}
	return Entry{key, value}, value != nil, nil
}
