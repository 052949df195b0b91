// Package loader is the one place that knows the kernel's side of the sockmap
// path as BPF maps and programs: it probes, loads, pins and unpins them, and
// gives typed access to every map.
//
// # What is pinned
//
// Every process that loads the program gets maps of its own, a generation, and
// pins them in a directory of its own on bpffs:
//
//	/sys/fs/bpf/sluice/INSTANCE/7/identity    magic and ABI number, frozen
//	                             /sockets     and the other maps
//	                             /verdict     the program
//
// The pins are for others to look at: a closed socket leaves its map, so no flow
// outlives its process, pinned or not. A process holds a lock (flock) on its
// directory while it lives. So a new version never finds, and never writes to,
// maps of an old one: it makes the next generation, while the flows of the old
// process end on the old code. What a process leaves behind that was killed is
// known by the lock that is free, and removed by the next one, once no socket is
// in it any more. A directory whose identity does not have Sluice's magic is
// left alone.
//
// A directory is filled under the name "new-7" and then renamed, so that one with
// a number is always whole. The instance's directory is locked while its list of
// generations changes.
package loader

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// DefaultRoot is where instances have their directories.
const DefaultRoot = "/sys/fs/bpf/sluice"

// Options say what to load. Zero fields mean the default given.
type Options struct {
	Root     string // a directory on bpffs: DefaultRoot
	Instance string // letters, digits, "-" and "_": "default"
	Flows    int    // the most at one time: 16384; each takes 256 bytes of kernel memory at once
	Routes   int    // the most that can have policies of their own: 4096
	Workers  int    // event loops: 1
}

func (o Options) withDefaults() Options {
	if o.Root == "" {
		o.Root = DefaultRoot
	}
	if o.Instance == "" {
		o.Instance = "default"
	}
	if o.Flows <= 0 {
		o.Flows = 16384
	}
	if o.Routes <= 0 {
		o.Routes = 4096
	}
	if o.Workers <= 0 {
		o.Workers = 1
	}
	return o
}

// Load loads the program with maps of their own, and pins them. Generations of
// the same instance whose process is gone are removed.
func Load(opts Options) (*Datapath, error) {
	opts = opts.withDefaults()
	inst, err := openInstance(opts.Root, opts.Instance)
	if err != nil {
		return nil, err
	}
	defer inst.close()
	if err := inst.sweep(); err != nil {
		return nil, err
	}
	d, err := load(opts)
	if err != nil {
		return nil, err
	}
	d.gen, err = inst.begin()
	if err != nil {
		d.release()
		return nil, err
	}
	if err := d.pin(); err != nil {
		d.release()
		return nil, errors.Join(err, d.gen.remove())
	}
	return d, nil
}

// load makes a generation that is not pinned.
func load(opts Options) (*Datapath, error) {
	// Before 5.11 maps counted against a limit; since then this does nothing.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("raise the limit of locked memory: %w", err)
	}
	spec, err := loadSockmap()
	if err != nil {
		return nil, fmt.Errorf("read the built-in program: %w", err)
	}
	size(spec, opts)
	d := &Datapath{opts: opts}
	counted, err := trafficOf(spec, opts)
	if err != nil {
		return nil, err
	}
	if counted != nil {
		defer counted.Close()
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, counting(counted))
	if err != nil {
		return nil, fmt.Errorf("load the program: %w", err)
	}
	defer coll.Close() // of what is not taken
	if err := coll.Assign(&d.objects); err != nil {
		return nil, fmt.Errorf("load the program: %w", err)
	}
	d.identity = coll.DetachMap(identityMap)
	// Before any socket: one in a map without a verdict may lose wake-ups
	// (6.6.128, 6.12.75, 6.18.14 and later).
	err = link.RawAttachProgram(link.RawAttachProgramOptions{
		Target:  d.objects.Sockets.FD(),
		Program: d.objects.SluiceVerdict,
		Attach:  ebpf.AttachSkSKBVerdict,
	})
	if err == nil {
		err = d.mapWays()
	}
	if err != nil {
		d.release()
		return nil, fmt.Errorf("attach the program to its sockets: %w", err)
	}
	return d, nil
}

// size sets how much the maps hold.
func size(spec *ebpf.CollectionSpec, opts Options) {
	ways := uint32(2 * opts.Flows)
	spec.Maps[sockmapMapSockets].MaxEntries = ways
	spec.Maps[sockmapMapCookies].MaxEntries = ways
	spec.Maps[sockmapMapWays].MaxEntries = ways
	spec.Maps[sockmapMapPolicies].MaxEntries = uint32(opts.Routes + 1)
	spec.Maps[sockmapMapRings].MaxEntries = uint32(opts.Workers)
	spec.Maps[sockmapMapRings].InnerMap.MaxEntries = uint32(ringSize(opts.Flows))
}

// ringSize has room for one event of every way at a time, which is all that
// there can be but for moments: 8 bytes, and 8 for the ring.
func ringSize(flows int) int {
	n := os.Getpagesize()
	for n < 2*flows*16 {
		n *= 2
	}
	return n
}

// pins lists what is pinned, the identity first, by which the rest is known.
func (d *Datapath) pins() []pinned {
	o := &d.objects
	return []pinned{
		{identityPin, d.identity},
		{"sockets", o.Sockets},
		{"cookies", o.Cookies},
		{"ways", o.Ways},
		{"policies", o.Policies},
		{"counters", o.Counters},
		{"rings", o.Rings},
		{"verdict", o.SluiceVerdict},
	}
}

type pinned struct {
	name string
	what interface{ Pin(string) error }
}

func (d *Datapath) pin() error {
	for _, p := range d.pins() {
		if err := p.what.Pin(d.gen.path(p.name)); err != nil {
			return fmt.Errorf("pin %s: %w", p.name, err)
		}
	}
	return d.gen.commit()
}

// Close unpins and frees everything. No flow may be left.
func (d *Datapath) Close() error {
	err := d.gen.remove()
	d.release()
	return err
}

// release frees what this process holds.
func (d *Datapath) release() {
	if d.memory != nil {
		_ = unix.Munmap(d.memory)
	}
	d.identity.Close()
	d.objects.Close()
}
