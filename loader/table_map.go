package loader

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"sluice/userspace/mirror"
)

// batchSize is how many entries are read by a system call. It is more than any bucket
// of a hash has.
const batchSize = 1024

// Of memory that the kernel allots to entries there may be none for a moment, while
// entries are written faster than its worker fetches more.
const (
	memoryTries = 50
	memoryPause = 2 * time.Millisecond
)

// tableMap is a map of the table with its types.
type tableMap[K, V any] struct{ m *ebpf.Map }

func (t tableMap[K, V]) Max() int { return int(t.m.MaxEntries()) }

func (t tableMap[K, V]) Lookup(key *K, value *V) (bool, error) {
	switch err := t.m.Lookup(unsafe.Pointer(key), unsafe.Pointer(value)); {
	case errors.Is(err, ebpf.ErrKeyNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look up: %w", err)
	}
	return true, nil
}

// Put writes in the given order, with one system call for many where the kernel has
// that (5.6 and later; tries 5.13).
func (t tableMap[K, V]) Put(keys []K, values []V) error {
	if len(keys) > 1 {
		if _, err := t.m.BatchUpdate(keys, values, nil); err == nil {
			return nil
		}
		// It has not, or there was no memory for one of them: once more, one by one.
	}
	for i := range keys {
		if err := t.put(&keys[i], &values[i]); err != nil {
			return err
		}
	}
	return nil
}

func (t tableMap[K, V]) put(key *K, value *V) error {
	var err error
	for range memoryTries {
		err = t.m.Update(unsafe.Pointer(key), unsafe.Pointer(value), ebpf.UpdateAny)
		if !errors.Is(err, unix.ENOMEM) {
			break
		}
		time.Sleep(memoryPause)
	}
	if err != nil {
		return fmt.Errorf("update: %w", err)
	}
	return nil
}

// Delete removes in the given order.
func (t tableMap[K, V]) Delete(keys []K) error {
	if len(keys) > 1 {
		if _, err := t.m.BatchDelete(keys, nil); err == nil {
			return nil
		}
		// A key that is not there ends a batch.
	}
	for i := range keys {
		if err := t.m.Delete(unsafe.Pointer(&keys[i])); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("delete: %w", err)
		}
	}
	return nil
}

func (t tableMap[K, V]) All(each func(*K, *V)) error {
	return t.until(func(k *K, v *V) error { each(k, v); return nil })
}

// until is All that ends with the first error of each.
func (t tableMap[K, V]) until(each func(*K, *V) error) error {
	keys, values := make([]K, batchSize), make([]V, batchSize)
	err := eachBatch(t.m, keys, values, func(n int) error {
		for i := range n {
			if err := each(&keys[i], &values[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, unix.EINTR) { // keys went away under it
		return t.walk(each)
	}
	return err
}

// eachBatch fills keys and values as often as it takes to read the whole map.
func eachBatch(m *ebpf.Map, keys, values any, each func(n int) error) error {
	var cursor ebpf.MapBatchCursor
	// While keys are removed, a trie may begin again from its first.
	for left := 4 * int(m.MaxEntries()); left > 0; {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		if err := each(n); err != nil {
			return err
		}
		left -= max(1, n)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read many: %w", err)
		}
	}
	return nil
}

// walk is until one by one, for kernels that know no better.
func (t tableMap[K, V]) walk(each func(*K, *V) error) error {
	var key K
	var value V
	var prev unsafe.Pointer
	for left := 4 * t.Max(); left > 0; left-- {
		next := new(K)
		err := t.m.NextKey(prev, unsafe.Pointer(next))
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list: %w", err)
		}
		prev, key = unsafe.Pointer(next), *next
		found, err := t.Lookup(&key, &value)
		if err != nil {
			return err
		}
		if !found { // it went away just now
			continue
		}
		if err := each(&key, &value); err != nil {
			return err
		}
	}
	return nil
}

// tableTraffic sums up what each processor counted.
type tableTraffic struct{ m *ebpf.Map }

func (t tableTraffic) All(each func(uint32, *mirror.TrafficRecord)) error {
	var id uint32
	var cpus []mirror.TrafficRecord
	it := t.m.Iterate()
	for it.Next(&id, &cpus) {
		var sum mirror.TrafficRecord
		for i := range cpus {
			sum.Add(&cpus[i])
		}
		each(id, &sum)
	}
	if err := it.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("read by processor: %w", err)
	}
	return nil
}

func (t tableTraffic) Delete(ids []uint32) error { return tableMap[uint32, struct{}](t).Delete(ids) }
