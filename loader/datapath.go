package loader

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"sluice/userspace/slot"
)

// Datapath is the program and its maps, loaded by this process. All methods but
// Close can be used at the same time.
type Datapath struct {
	opts     Options
	gen      *generation
	objects  sockmapObjects
	identity *ebpf.Map
	memory   []byte // of the ways
	ways     []slot.Way
}

// mapWays makes the ways visible in this process.
func (d *Datapath) mapWays() error {
	m := d.objects.Ways
	b, err := mapMemory(m)
	if err != nil {
		return fmt.Errorf("map the ways: %w", err)
	}
	d.memory = b
	d.ways = unsafe.Slice((*slot.Way)(unsafe.Pointer(unsafe.SliceData(b))), m.MaxEntries())
	return nil
}

// mapMemory makes the values of an array visible in this process.
func mapMemory(m *ebpf.Map) ([]byte, error) {
	page := unix.Getpagesize()
	length := (int(m.MaxEntries())*int(m.ValueSize()) + page - 1) / page * page
	return unix.Mmap(m.FD(), 0, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

// Ways is the memory shared with the program, valid until Close.
func (d *Datapath) Ways() []slot.Way { return d.ways }

// Bind leads from a socket, by its cookie, to the way of what arrives on it.
func (d *Datapath) Bind(cookie uint64, way uint32) error {
	if err := d.objects.Cookies.Update(cookie, way, ebpf.UpdateNoExist); err != nil {
		return fmt.Errorf("add a cookie: %w", err)
	}
	return nil
}

// Unbind undoes Bind. It is no error when there is nothing to undo.
func (d *Datapath) Unbind(cookie uint64) error {
	if err := d.objects.Cookies.Delete(cookie); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("remove a cookie: %w", err)
	}
	return nil
}

// Insert puts a socket into the hands of the program, for as long as it lives.
// The error of a socket that cannot be inserted unwraps to the kernel's errno.
func (d *Datapath) Insert(cookie uint64, fd int) error {
	if err := d.objects.Sockets.Update(cookie, uint64(fd), ebpf.UpdateNoExist); err != nil {
		return fmt.Errorf("insert a socket: %w", err)
	}
	return nil
}

// Policies is how many policies there are, that of index 0 included.
func (d *Datapath) Policies() int { return int(d.objects.Policies.MaxEntries()) }

// SetPolicy sets a route's policy, for flows that are under way too.
func (d *Datapath) SetPolicy(route uint32, p slot.Policy) error {
	v := sockmapPolicy{Rule: uint32(p.Rule), Credit: p.Credit}
	if err := d.objects.Policies.Update(route, &v, ebpf.UpdateAny); err != nil {
		return fmt.Errorf("set the policy of route %d: %w", route, err)
	}
	return nil
}

// Counters sums up the program's counters over all processors.
func (d *Datapath) Counters() ([slot.Reasons]uint64, error) {
	return readCounters(d.objects.Counters)
}

func readCounters(m *ebpf.Map) ([slot.Reasons]uint64, error) {
	var sums [slot.Reasons]uint64
	for r := range slot.Reasons {
		var each []uint64
		if err := m.Lookup(uint32(r), &each); err != nil {
			return sums, fmt.Errorf("read the counter of %s: %w", r, err)
		}
		for _, n := range each {
			sums[r] += n
		}
	}
	return sums, nil
}

// Sockets is how many sockets are in the kernel's hands; it counts them.
func (d *Datapath) Sockets() (int, error) { return count(d.objects.Sockets) }

// Bound is how many cookies lead to ways; it counts them.
func (d *Datapath) Bound() (int, error) { return count(d.objects.Cookies) }
