package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
)

// trafficOf is the map of the instance's table that the program counts routes' traffic
// in, and nil when there is no table. The table may be another process's still: the one
// that this process takes over from counts in it too. A table that is replaced by a
// larger one takes its counts along, and what is carried by programs that were loaded
// before is not counted after that.
func trafficOf(spec *ebpf.CollectionSpec, opts Options) (*ebpf.Map, error) {
	parent := filepath.Join(opts.Root, opts.Instance)
	found, err := findTables(parent)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(found.ours) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	pin := filepath.Join(parent, found.ours[len(found.ours)-1], tableMapRouteTraffic)
	m, err := ebpf.LoadPinnedMap(pin, nil)
	if errors.Is(err, os.ErrNotExist) { // what an unload left that was cut off
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open the pinned map %s: %w", pin, err)
	}
	spec.Maps[sockmapMapRouteTraffic].MaxEntries = m.MaxEntries()
	return m, nil
}

// counting has a program count in a map; without one it has its own, which holds next
// to nothing.
func counting(traffic *ebpf.Map) ebpf.CollectionOptions {
	if traffic == nil {
		return ebpf.CollectionOptions{}
	}
	return ebpf.CollectionOptions{MapReplacements: map[string]*ebpf.Map{sockmapMapRouteTraffic: traffic}}
}
