package loader

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"sluice/userspace/mirror"
)

// statsSize is that of a route's counters.
const statsSize = int(unsafe.Sizeof(mirror.Stats{}))

// mapStats makes the counters of routes visible in this process. The kernel does not
// map what was opened to read alone: then they are copied when they are asked for.
func (t *Table) mapStats(readOnly bool) ([]mirror.Stats, error) {
	m := t.maps[tableMapRouteStats]
	n := int(m.MaxEntries())
	if readOnly {
		stats := make([]mirror.Stats, n)
		t.store.Refresh = func(upTo uint32) error { return copyStats(m, stats[:min(n, int(upTo)+1)]) }
		return stats, nil
	}
	page := unix.Getpagesize()
	b, err := unix.Mmap(m.FD(), 0, (n*statsSize+page-1)/page*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the counters of routes: %w", err)
	}
	t.memory = b
	return unsafe.Slice((*mirror.Stats)(unsafe.Pointer(unsafe.SliceData(b))), n), nil
}

var errCopied = errors.New("all that is needed was copied")

// copyStats reads the first counters.
func copyStats(m *ebpf.Map, stats []mirror.Stats) error {
	into := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(stats))), len(stats)*statsSize)
	err := tableMap[uint32, [statsSize]byte]{m}.until(func(id *uint32, value *[statsSize]byte) error {
		if int(*id) >= len(stats) {
			return errCopied
		}
		copy(into[int(*id)*statsSize:], value[:])
		return nil
	})
	if err != nil && !errors.Is(err, errCopied) {
		return fmt.Errorf("read the counters of routes: %w", err)
	}
	return nil
}

// copyFrom fills new maps with what is in old ones, which nobody writes to.
func (t *Table) copyFrom(old *Table) error {
	to, from := &t.store, &old.store
	for _, c := range []struct {
		name string
		copy func() error
	}{
		{tableMapTexts, func() error { return copyMap(to.Texts, from.Texts) }},
		{tableMapEndpoints, func() error { return copyMap(to.Endpoints, from.Endpoints) }},
		{tableMapClusters, func() error { return copyMap(to.Clusters, from.Clusters) }},
		{tableMapRoutes, func() error { return copyMap(to.Routes, from.Routes) }},
		{tableMapPolicy, func() error { return copyMap(to.Policies, from.Policies) }},
		{tableMapMeta, func() error { return copyMap(to.Meta, from.Meta) }},
		{tableMapRouteTraffic, func() error { return copyTraffic(t.maps[tableMapRouteTraffic], old.maps[tableMapRouteTraffic]) }},
	} {
		if err := c.copy(); err != nil {
			return fmt.Errorf("copy the map %s to a larger one: %w", c.name, err)
		}
	}
	copy(t.memory, old.memory)
	return nil
}

func copyMap[K, V any](to, from mirror.Map[K, V]) error {
	var keys []K
	var values []V
	err := from.All(func(k *K, v *V) { keys, values = append(keys, *k), append(values, *v) })
	if err != nil || len(keys) == 0 {
		return err
	}
	return to.Put(keys, values)
}

func copyTraffic(to, from *ebpf.Map) error {
	var id uint32
	var cpus []mirror.TrafficRecord
	it := from.Iterate()
	for it.Next(&id, &cpus) {
		if err := to.Put(id, cpus); err != nil {
			return err
		}
	}
	return it.Err()
}
