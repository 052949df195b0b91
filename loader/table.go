package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"sluice/userspace/mirror"
)

// The routing table's maps belong to an instance, and outlive its processes:
//
//	/sys/fs/bpf/sluice/INSTANCE/table/identity    magic and ABI number, frozen
//	                                 /routes      and the other maps of bpf/table.c
//
// The agent holds a lock (flock) on the directory: it is the one writer. Who reads
// takes none. A directory of another ABI, or not of Sluice's, is left alone, and the
// next name is used: table-2, table-3; the last one of this ABI is the one in use.
//
// Directories have mode 0750 and pins 0640, so that a group can read: TableOptions.Group.
// To open a pin for reading (BPF_OBJ_GET with BPF_F_RDONLY) and to look up in it, singly
// or many at a time, the kernel asks for these rights of files alone, and for no
// capability, from 5.19 on even with kernel.unprivileged_bpf_disabled set. But the way to them must be open too, and systemd mounts /sys/fs/bpf with mode
// 0700: "chmod o+x /sys/fs/bpf" opens it.
const (
	// TableABI numbers the layouts in bpf/table.h.
	TableABI   = 1
	tableMagic = 0x656c6261742d6c73 // "sl-table"
	tableDir   = "table"
)

// TableOptions say where the maps of a table are and how much they hold.
type TableOptions struct {
	Root     string // a directory on bpffs: DefaultRoot
	Instance string // "default"
	Group    int    // whose id may read; 0: that of the process
	Limits   mirror.Limits
}

func (o TableOptions) withDefaults() TableOptions {
	if o.Root == "" {
		o.Root = DefaultRoot
	}
	if o.Instance == "" {
		o.Instance = "default"
	}
	o.Limits = o.Limits.WithDefaults()
	return o
}

// Table is the maps of an instance's routing table.
type Table struct {
	dir    string
	lock   *os.File // nil: to read alone
	maps   map[string]*ebpf.Map
	store  mirror.Store
	memory []byte // of the counters
	notes  []string
}

// OpenTable opens the pinned maps of an instance to write to, and makes them when there
// are none. The error is ErrInUse when another process has them. Maps that are smaller
// than the limits are replaced by larger ones with the same contents; larger ones stay.
func OpenTable(opts TableOptions) (*Table, error) {
	opts = opts.withDefaults()
	// For a change of the list of directories.
	inst, err := openInstance(opts.Root, opts.Instance)
	if err != nil {
		return nil, err
	}
	defer inst.close()
	if err := removeTable(filepath.Join(inst.dir, unfinished+tableDir)); err != nil {
		return nil, err
	}
	found, err := findTables(inst.dir)
	if err != nil {
		return nil, err
	}
	t, err := found.open(opts)
	if err != nil {
		return nil, err
	}
	t.notes = found.notes
	return t, nil
}

// ViewTable opens the pinned maps of an instance to read them, without a lock. The
// error is os.ErrNotExist when there are none, and another one when there are only some
// of another ABI. Who looks again later opens
// them again: a new agent may have replaced them by larger ones.
func ViewTable(root, name string) (*Table, error) {
	opts := TableOptions{Root: root, Instance: name}.withDefaults()
	if err := checkInstanceName(opts.Instance); err != nil {
		return nil, err
	}
	dir := filepath.Join(opts.Root, opts.Instance)
	found, err := findTables(dir)
	if err != nil {
		return nil, err
	}
	switch {
	case len(found.ours) > 0:
	case len(found.notes) > 0:
		return nil, fmt.Errorf("no table of instance %s can be read: %s; use the Sluice that wrote it, start a gateway of this one, which makes its own beside it, or remove the directory if no gateway needs it (rm -r)",
			opts.Instance, strings.Join(found.notes, "; "))
	default:
		return nil, fmt.Errorf("table of instance %s: %w: none was written", opts.Instance, os.ErrNotExist)
	}
	t, err := openPins(filepath.Join(dir, found.ours[len(found.ours)-1]), true)
	if err != nil {
		return nil, err
	}
	t.notes = found.notes
	return t, nil
}

// Store is the maps for package mirror. After Close nothing may look into it or count.
func (t *Table) Store() *mirror.Store { return &t.store }

// Dir is the directory of the pins.
func (t *Table) Dir() string { return t.dir }

// Alive tells whether a process holds the maps to write to them. Nobody does once others
// have taken their place.
func (t *Table) Alive() (bool, error) {
	held, err := alive(t.dir)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return held, err
}

// Notes say what else was found where the pins are, and was left alone.
func (t *Table) Notes() []string { return t.notes }

// Close gives the maps up; what is in them stays.
func (t *Table) Close() error {
	var err error
	if t.memory != nil {
		err = unix.Munmap(t.memory)
	}
	for _, m := range t.maps {
		err = errors.Join(err, m.Close())
	}
	if t.lock != nil {
		err = errors.Join(err, t.lock.Close())
	}
	return err
}

// open adopts the latest directory, or makes one.
func (f *tables) open(opts TableOptions) (*Table, error) {
	if len(f.ours) == 0 {
		return f.make(opts, nil)
	}
	// Those before were replaced by larger ones.
	last := len(f.ours) - 1
	dir := filepath.Join(f.parent, f.ours[last])
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range f.ours[:last] {
		if err := removeTable(filepath.Join(f.parent, name)); err != nil {
			lock.Close()
			return nil, err
		}
	}
	t, err := openPins(dir, false)
	if errors.Is(err, os.ErrNotExist) { // what an unload left that was cut off
		err = removeTable(dir)
		lock.Close()
		if err != nil {
			return nil, err
		}
		return f.make(opts, nil)
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	t.lock = lock
	if !t.smaller(opts.Limits) {
		if err := t.share(opts.Group); err != nil {
			return nil, errors.Join(err, t.Close())
		}
		return t, nil
	}
	larger, err := f.make(opts, t)
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	err = errors.Join(removeTable(dir), t.Close())
	if err != nil {
		return nil, errors.Join(err, larger.Close())
	}
	return larger, nil
}

// make pins new maps, with what is in old ones, if there are any.
func (f *tables) make(opts TableOptions, old *Table) (*Table, error) {
	// Before 5.11 maps counted against a limit; since then this does nothing.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("raise the limit of locked memory: %w", err)
	}
	spec, err := tableSpec()
	if err != nil {
		return nil, err
	}
	sizeTable(spec, opts.Limits, old)
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("make the maps of the table: %w", err)
	}
	defer coll.Close() // of what is not taken
	t := &Table{dir: filepath.Join(f.parent, unfinished+tableDir), maps: map[string]*ebpf.Map{}}
	for name := range spec.Maps {
		t.maps[pinOf(name)] = coll.DetachMap(name)
	}
	if err = t.bind(false); err == nil && old != nil {
		err = t.copyFrom(old)
	}
	if err == nil {
		err = t.pin(opts.Group)
	}
	if err == nil {
		err = t.commit(filepath.Join(f.parent, f.next))
	}
	if err != nil {
		return nil, errors.Join(err, removeTable(filepath.Join(f.parent, unfinished+tableDir)), t.Close())
	}
	return t, nil
}

// tableSpec is the maps of bpf/table.c.
func tableSpec() (*ebpf.CollectionSpec, error) {
	spec, err := loadTable()
	if err != nil {
		return nil, fmt.Errorf("read the built-in maps: %w", err)
	}
	for name := range spec.Maps {
		// What only names types for us has a section too.
		if strings.HasPrefix(name, ".") && name != identityMap {
			delete(spec.Maps, name)
		}
	}
	clear(spec.Variables)
	return spec, nil
}

func pinOf(mapName string) string {
	if mapName == identityMap {
		return identityPin
	}
	return mapName
}

// sizeTable sets how much the maps hold, and no less than old ones did.
func sizeTable(spec *ebpf.CollectionSpec, l mirror.Limits, old *Table) {
	for name, n := range map[string]int{
		tableMapRoutes: mirror.Spare * l.Routes, tableMapClusters: mirror.Spare * l.Clusters, tableMapEndpoints: mirror.Spare * l.Addresses,
		tableMapTexts: mirror.Spare * l.Texts, tableMapPolicy: mirror.Spare*l.Routes + 1, tableMapRouteStats: mirror.Spare*l.Routes + 1,
		tableMapRouteTraffic: mirror.Spare*l.Routes + 1, tableMapMeta: 1,
	} {
		if old != nil {
			n = max(n, int(old.maps[name].MaxEntries()))
		}
		spec.Maps[name].MaxEntries = uint32(n)
	}
}

// smaller tells whether some map has less room than it should.
func (t *Table) smaller(l mirror.Limits) bool {
	for name, n := range map[string]int{
		tableMapRoutes: l.Routes, tableMapClusters: l.Clusters, tableMapEndpoints: l.Addresses, tableMapTexts: l.Texts,
	} {
		if int(t.maps[name].MaxEntries()) < mirror.Spare*n {
			return true
		}
	}
	return false
}

// openPins opens the maps of a directory.
func openPins(dir string, readOnly bool) (*Table, error) {
	spec, err := tableSpec()
	if err != nil {
		return nil, err
	}
	t := &Table{dir: dir, maps: map[string]*ebpf.Map{}}
	for name, want := range spec.Maps {
		pin := pinOf(name)
		m, err := ebpf.LoadPinnedMap(filepath.Join(dir, pin), &ebpf.LoadPinOptions{ReadOnly: readOnly || pin == identityPin})
		if err == nil {
			t.maps[pin] = m
			if m.Type() != want.Type || m.KeySize() != want.KeySize || m.ValueSize() != want.ValueSize {
				err = errors.New("has another layout than its ABI number says")
			}
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open the pinned map %s: %w", filepath.Join(dir, pin), err), t.Close())
		}
	}
	if err := t.bind(readOnly); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// bind gives the maps their types.
func (t *Table) bind(readOnly bool) error {
	stats, err := t.mapStats(readOnly)
	if err != nil {
		return err
	}
	t.store = mirror.Store{
		Refresh:   t.store.Refresh,
		Routes:    tableMap[mirror.RouteKey, mirror.RouteRecord]{t.maps[tableMapRoutes]},
		Clusters:  tableMap[uint32, mirror.ClusterRecord]{t.maps[tableMapClusters]},
		Endpoints: tableMap[mirror.EndpointKey, mirror.EndpointRecord]{t.maps[tableMapEndpoints]},
		Texts:     tableMap[mirror.TextKey, mirror.TextRecord]{t.maps[tableMapTexts]},
		Policies:  tableMap[uint32, mirror.PolicyRecord]{t.maps[tableMapPolicy]},
		Meta:      tableMap[uint32, mirror.MetaRecord]{t.maps[tableMapMeta]},
		Traffic:   tableTraffic{t.maps[tableMapRouteTraffic]},
		Stats:     stats,
	}
	return nil
}
