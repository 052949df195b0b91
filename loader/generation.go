package loader

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
)

const (
	identityPin = "identity"
	identityMap = ".rodata.identity" // the section of the object that it is from
	magic       = 0x656369756c73     // "sluice", as in bpf/flow.h
	// ABI numbers the layouts in bpf/flow.h.
	ABI = 3
)

// Identity is what every generation says of itself, whatever its ABI.
type Identity struct {
	Magic uint64
	ABI   uint32
}

// generation is the directory of one process's pins, locked by this process.
type generation struct {
	parent string
	name   string
	lock   *os.File
}

// claim locks a generation. ErrInUse means that its process lives.
func claim(parent, name string) (*generation, error) {
	lock, err := lockDir(filepath.Join(parent, name))
	if err != nil {
		return nil, err
	}
	return &generation{parent, name, lock}, nil
}

func (g *generation) dir() string             { return filepath.Join(g.parent, g.name) }
func (g *generation) path(name string) string { return filepath.Join(g.dir(), name) }

// commit gives the directory its number.
func (g *generation) commit() error {
	number := strings.TrimPrefix(g.name, unfinished)
	if err := os.Rename(g.dir(), filepath.Join(g.parent, number)); err != nil {
		return fmt.Errorf("commit the pins: %w", err)
	}
	g.name = number
	return nil
}

// abandoned tells whether the generation, whose process is gone, can go too: it
// is Sluice's, of whatever version, and no socket is in it any more.
func (g *generation) abandoned() bool {
	id, err := readIdentity(g.dir())
	if errors.Is(err, os.ErrNotExist) {
		// The identity is pinned first: without it there is nothing, or somebody
		// else's.
		entries, err := os.ReadDir(g.dir())
		return err == nil && len(entries) == 0
	}
	if err != nil || id.Magic != magic {
		return false
	}
	n, err := countSockets(g.path("sockets"))
	return n == 0 && (err == nil || errors.Is(err, os.ErrNotExist))
}

// remove unpins the generation and gives up its lock. It is no error when it has
// been removed already.
func (g *generation) remove() error {
	defer g.release()
	entries, err := os.ReadDir(g.dir())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list pins: %w", err)
	}
	// The identity goes last, as it came first: what is left by a crash in
	// between is still known.
	for _, e := range entries {
		if e.Name() == identityPin {
			continue
		}
		if err := os.Remove(g.path(e.Name())); err != nil {
			return fmt.Errorf("unpin: %w", err)
		}
	}
	if err := os.Remove(g.path(identityPin)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("unpin: %w", err)
	}
	if err := os.Remove(g.dir()); err != nil {
		return fmt.Errorf("remove the directory of pins: %w", err)
	}
	return nil
}

func (g *generation) release() { g.lock.Close() }

// readIdentity reads who made the generation in a directory.
func readIdentity(dir string) (Identity, error) {
	m, err := ebpf.LoadPinnedMap(filepath.Join(dir, identityPin), &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return Identity{}, fmt.Errorf("open the identity in %s: %w", dir, err)
	}
	defer m.Close()
	value, err := m.LookupBytes(uint32(0))
	if err != nil {
		return Identity{}, fmt.Errorf("read the identity in %s: %w", dir, err)
	}
	if len(value) < 12 {
		return Identity{}, nil // no magic: somebody else's
	}
	return Identity{
		Magic: binary.NativeEndian.Uint64(value),
		ABI:   binary.NativeEndian.Uint32(value[8:]),
	}, nil
}

// countSockets is how many sockets are in a pinned map.
func countSockets(pin string) (int, error) {
	m, err := ebpf.LoadPinnedMap(pin, &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return 0, fmt.Errorf("open the map of sockets: %w", err)
	}
	defer m.Close()
	return count(m)
}

// count is the number of keys of a map that has no better way to tell.
func count(m *ebpf.Map) (int, error) {
	n := 0
	key := make([]byte, m.KeySize())
	var prev any
	for ; ; n++ {
		err := m.NextKey(prev, key)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return n, nil
		}
		if err != nil {
			return n, fmt.Errorf("list a map: %w", err)
		}
		prev = key
	}
}
