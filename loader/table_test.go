package loader

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"sluice/userspace/flow"
	"sluice/userspace/mirror"
	"sluice/userspace/route"
	"sluice/userspace/slot"
)

// TestTableLayouts compares the structs of the table in Go and in C.
func TestTableLayouts(t *testing.T) {
	spec, err := loadTable()
	if err != nil {
		t.Fatal(err)
	}
	for name, typ := range map[string]reflect.Type{
		"route_key":       reflect.TypeFor[mirror.RouteKey](),
		"route_record":    reflect.TypeFor[mirror.RouteRecord](),
		"cluster_record":  reflect.TypeFor[mirror.ClusterRecord](),
		"endpoint_key":    reflect.TypeFor[mirror.EndpointKey](),
		"endpoint_record": reflect.TypeFor[mirror.EndpointRecord](),
		"text_key":        reflect.TypeFor[mirror.TextKey](),
		"text_record":     reflect.TypeFor[mirror.TextRecord](),
		"route_policy":    reflect.TypeFor[mirror.PolicyRecord](),
		"route_stats":     reflect.TypeFor[mirror.Stats](),
		"route_traffic":   reflect.TypeFor[mirror.TrafficRecord](),
		"table_meta":      reflect.TypeFor[mirror.MetaRecord](),
	} {
		members := map[string][2]uint32{"": {0, uint32(typ.Size())}}
		for f := range typ.Fields() {
			if f.Name != "_" {
				members[cName(f.Name)] = [2]uint32{uint32(f.Offset), uint32(f.Type.Size())}
			}
		}
		if in := btfLayout(t, spec.Types, name); !reflect.DeepEqual(in, members) {
			t.Errorf("struct %s is %v in C and %v in Go", name, in, members)
		}
	}
}

// cName is snake for names with abbreviations in them.
func cName(name string) string {
	if name == "ID" {
		return "id"
	}
	return snake(name)
}

// TestTableNames compares the enumerations of the table: their names are those of Go in
// upper case.
func TestTableNames(t *testing.T) {
	spec, err := loadTable()
	if err != nil {
		t.Fatal(err)
	}
	for name, goes := range map[string]struct {
		prefix string
		names  []string
	}{
		"table_end":       {"END_", mirror.EndNames()},
		"table_state":     {"TABLE_", []string{mirror.Empty.String(), mirror.Writing.String(), mirror.Whole.String()}},
		"table_policy":    {"POLICY_", []string{route.RoundRobin.String(), route.LeastRequest.String(), route.Random.String()}},
		"table_discovery": {"DISCOVERY_", []string{route.Strict.String(), route.Logical.String()}},
		"table_health":    {"HEALTH_", []string{route.Passing.String(), route.Warning.String(), route.Critical.String()}},
	} {
		var e *btf.Enum
		if err := spec.Types.TypeByName(name, &e); err != nil {
			t.Fatal(err)
		}
		for i, want := range goes.names {
			if i >= len(e.Values) || e.Values[i].Value != uint64(i) || e.Values[i].Name != goes.prefix+upper(want) {
				t.Errorf("enum %s: %d is %s in Go; in C there is %v", name, i, want, e.Values)
			}
		}
	}
}

func upper(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			b[i] = c - 32
		}
	}
	return string(b)
}

// openTable opens the instance's table for the test.
func openTable(t testing.TB, root string, l mirror.Limits) (*Table, *mirror.Mirror) {
	t.Helper()
	table, err := OpenTable(TableOptions{Root: root, Limits: l})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { table.Close() })
	m, err := mirror.Open(table.Store())
	if err != nil {
		t.Fatal(err)
	}
	return table, m
}

func viewTable(t testing.TB, root string) *mirror.View {
	t.Helper()
	table, err := ViewTable(root, "")
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	v, err := mirror.Read(table.Store())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

const serviceName = "service-%d.default.dc1.internal.11111111-2222-3333-4444-555555555555.consul"

// services is a table of n routes, each to its own cluster of two endpoints.
func services(t testing.TB, prev *route.Table, n int) *route.Table {
	t.Helper()
	b := route.NewBuilder(prev, "test")
	for i := range n {
		name := fmt.Sprintf(serviceName, i)
		if err := b.PutCluster(service(name, i)); err != nil {
			t.Fatal(err)
		}
		if err := b.PutRoute(&route.Route{Name: name, Cluster: name}); err != nil {
			t.Fatal(err)
		}
	}
	return build(t, b)
}

func service(name string, i int) *route.Cluster {
	addr := func(net byte) []netip.AddrPort {
		return []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{net, byte(i >> 16), byte(i >> 8), byte(i)}), 20000)}
	}
	return &route.Cluster{Name: name, Endpoints: []route.Endpoint{{Addrs: addr(10)}, {Addrs: addr(11)}}}
}

func build(t testing.TB, b *route.Builder) *route.Table {
	t.Helper()
	table, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func sync(t testing.TB, m *mirror.Mirror, table *route.Table) {
	t.Helper()
	if err := m.Sync(table, mirror.About{}); err != nil {
		t.Fatal(err)
	}
}

func sameTable(t testing.TB, want, got *route.Table) {
	t.Helper()
	if d := route.Diff(want, got); !d.Empty() {
		t.Fatalf("differs: %s", d)
	}
}

// TestTable writes tables into the kernel's maps and reads them back, from others' eyes
// and over a restart.
func TestTable(t *testing.T) {
	root := bpffs(t)
	table, m := openTable(t, root, mirror.Limits{Routes: 100})
	first := services(t, nil, 50)
	sync(t, m, first)
	sameTable(t, first, viewTable(t, root).Table)

	name := fmt.Sprintf(serviceName, 7)
	b := route.NewBuilder(first, "test")
	b.DeleteRoute(name)
	for _, r := range []*route.Route{{Name: "*"}, {Name: "*.consul"}, {Name: "a.b"}} {
		r.Refuse = "no: " + string(make([]byte, 600))
		if err := b.PutRoute(r); err != nil {
			t.Fatal(err)
		}
	}
	second := build(t, b)
	sync(t, m, second)
	v := viewTable(t, root)
	sameTable(t, second, v.Table)
	for _, sni := range []string{"a.b", "x.a.b", "consul", "b.consul", name, "service-8" + name[9:]} {
		want, _ := second.Lookup([]byte(sni))
		if got, _, err := mirror.Lookup(table.Store(), []byte(sni)); err != nil || !got.Equal(want) {
			t.Errorf("%s leads to %v (%v), not to %v", sni, got, err, want)
		}
	}

	_, s := m.Enter("a.b")
	s.End(flow.RouteRefused)
	s.Sent.Add(17)
	if err := m.SetPolicy("a.b", route.Options{Path: "splice"}); err != nil {
		t.Fatal(err)
	}
	if err := table.Close(); err != nil {
		t.Fatal(err)
	}

	_, heir := openTable(t, root, mirror.Limits{Routes: 100})
	found, meta := heir.Table()
	sameTable(t, second, found)
	if meta.State != mirror.Whole || meta.Source != "test" || heir.Policy("a.b").Path != "splice" {
		t.Errorf("found %+v", meta)
	}
	state, _ := viewTable(t, root).State("a.b")
	if c := state.Counts; c.Sent != 17 || c.Flows != 1 || c.Active != 0 || c.Refused()[flow.RouteRefused] != 1 || state.Policy.Path != "splice" {
		t.Errorf("found %+v", state)
	}
}

// TestTableLock has two writers of one instance, and one of another.
func TestTableLock(t *testing.T) {
	root := bpffs(t)
	table, m := openTable(t, root, mirror.Limits{Routes: 10})
	sync(t, m, services(t, nil, 3))
	if _, err := OpenTable(TableOptions{Root: root}); !errors.Is(err, ErrInUse) {
		t.Errorf("a second writer: %v", err)
	}
	other, err := OpenTable(TableOptions{Root: root, Instance: "other"})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if v, err := mirror.Read(other.Store()); err != nil || v.Table != nil {
		t.Errorf("another instance sees %v, %v", v, err)
	}
	if err := table.Close(); err != nil {
		t.Fatal(err)
	}
	openTable(t, root, mirror.Limits{Routes: 10})
}

// TestTableForeign meets directories that are not to be touched.
func TestTableForeign(t *testing.T) {
	root := bpffs(t)
	table, m := openTable(t, root, mirror.Limits{Routes: 10})
	sync(t, m, services(t, nil, 3))
	table.Close()
	dir := filepath.Join(root, "default", "table")

	// One of another ABI.
	if err := os.Remove(filepath.Join(dir, identityPin)); err != nil {
		t.Fatal(err)
	}
	pinIdentity(t, filepath.Join(dir, identityPin), tableMagic, TableABI-1)
	if _, err := ViewTable(root, ""); err == nil || !strings.Contains(err.Error(), dir+" has ABI 0, and this Sluice knows 1: left alone; use the Sluice") {
		t.Errorf("another ABI is read: %v", err)
	}
	table, m = openTable(t, root, mirror.Limits{Routes: 10})
	if got := table.Dir(); got != dir+"-2" || len(table.Notes()) != 1 {
		t.Errorf("%s was used, and said %q", got, table.Notes())
	}
	if found, _ := m.Table(); found != nil {
		t.Errorf("found %v", found)
	}
	sync(t, m, services(t, nil, 5))
	if n, _ := viewTable(t, root).Table.Len(); n != 5 {
		t.Errorf("read %d routes", n)
	}
	pins, err := os.ReadDir(dir)
	if err != nil || len(pins) != 9 {
		t.Errorf("the other ABI's pins are now %v, %v", pins, err)
	}
}

// TestTableGrow opens maps that are too small now.
func TestTableGrow(t *testing.T) {
	root := bpffs(t)
	table, m := openTable(t, root, mirror.Limits{Routes: 10, Clusters: 10, Addresses: 40, Texts: 10})
	first := services(t, nil, 10)
	sync(t, m, first)
	name := fmt.Sprintf(serviceName, 7)
	_, s := m.Enter(name)
	s.Received.Add(9)
	if err := m.SetPolicy(name, route.Options{Path: "sockmap"}); err != nil {
		t.Fatal(err)
	}
	more := services(t, first, 11)
	before := viewTable(t, root)
	if err := m.Sync(more, mirror.About{}); err == nil {
		t.Error("11 routes fit into 10")
	} else {
		t.Log(err)
	}
	if after := viewTable(t, root); after.Meta.Sequence != before.Meta.Sequence {
		t.Error("something was written")
	}
	table.Close()

	_, m = openTable(t, root, mirror.Limits{Routes: 20, Clusters: 20, Addresses: 40, Texts: 10})
	found, _ := m.Table()
	sameTable(t, first, found)
	sync(t, m, more)
	v := viewTable(t, root)
	sameTable(t, more, v.Table)
	if st, _ := v.State(name); st.Counts.Received != 9 || st.Policy.Path != "sockmap" {
		t.Errorf("found %+v", st)
	}
	if entries, err := os.ReadDir(filepath.Join(root, "default")); err != nil || len(entries) != 1 {
		t.Errorf("directories: %v, %v", entries, err)
	}
}

// TestTableDump lists the maps, of both kinds, and shows entries of each.
func TestTableDump(t *testing.T) {
	root := bpffs(t)
	table, m := openTable(t, root, mirror.Limits{Routes: 10})
	loadFor(t, Options{Root: root})
	b := route.NewBuilder(services(t, nil, 2000), "test")
	if err := m.Sync(build(t, b), mirror.About{}); err == nil {
		t.Error("2,000 routes fit into 10")
	}
	b = route.NewBuilder(services(t, nil, 2), "test")
	if err := b.PutRoute(&route.Route{Name: "*.x", Refuse: "no"}); err != nil {
		t.Fatal(err)
	}
	sync(t, m, build(t, b))
	if err := m.SetPolicy("*.x", route.Options{Credit: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	traffic := table.maps[tableMapRouteTraffic]
	cpus := make([]mirror.TrafficRecord, ebpf.MustPossibleCPU())
	for i := range cpus {
		cpus[i].Bytes[0] = 5
	}
	if err := traffic.Put(uint32(1), cpus); err != nil {
		t.Fatal(err)
	}

	infos, err := Maps(root, "")
	if err != nil {
		t.Fatal(err)
	}
	entries := map[string]int{}
	for _, i := range infos {
		entries[i.Name] = i.Entries
	}
	for name, n := range map[string]int{
		"routes": 3, "clusters": 2, "endpoints": 4, "texts": 1, "policy": 1, "route_stats": 21, "route_traffic": 1, "meta": 1,
		"sockets": 0, "counters": int(slot.Reasons),
	} {
		if has, ok := entries[name]; !ok || has != n {
			t.Errorf("the map %s has %d entries, not %d", name, has, n)
		}
	}

	reader, err := ViewTable(root, "")
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for _, name := range mirror.MapNames() {
		n := 0
		err := reader.Entries(name, func(e Entry) {
			n++
			d, err := mirror.Dump(name, e.Key, e.Value)
			if err != nil || !d.Sound {
				t.Fatalf("%s: %+v, %v", name, d, err)
			}
			key, err := mirror.ParseKey(name, d.Key)
			if err != nil || !bytes.Equal(key, e.Key) {
				t.Fatalf("%s: key %s is %x, not %x (%v)", name, d.Key, key, e.Key, err)
			}
			if again, ok, err := reader.Entry(name, key); err != nil || !ok || !bytes.Equal(again.Value, e.Value) {
				t.Fatalf("%s: look-up of %s: %v, %v", name, d.Key, ok, err)
			}
		})
		if err != nil || n != entries[name] {
			t.Errorf("the map %s has %d entries to show, not %d (%v)", name, n, entries[name], err)
		}
	}
	if v := viewTable(t, root); v.Damage != nil {
		t.Error(v.Damage)
	} else if st, _ := v.State("*.x"); st.Policy.Credit != 1<<20 {
		t.Errorf("seen: %+v", st)
	}
	if err := reader.Entries("none", nil); err == nil {
		t.Error("an unknown map is shown")
	}
	if _, _, err := reader.Entry("routes", nil); err == nil {
		t.Error("a key of no bytes is looked up")
	}
}

// TestTableWalk reads one by one what newer kernels give many of at a time.
func TestTableWalk(t *testing.T) {
	root := bpffs(t)
	table, m := openTable(t, root, mirror.Limits{})
	want := services(t, nil, 3000)
	sync(t, m, want)
	met := map[mirror.RouteKey]mirror.RouteRecord{}
	routes := tableMap[mirror.RouteKey, mirror.RouteRecord]{table.maps[tableMapRoutes]}
	if err := routes.walk(func(k *mirror.RouteKey, r *mirror.RouteRecord) error { met[*k] = *r; return nil }); err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := routes.All(func(k *mirror.RouteKey, r *mirror.RouteRecord) {
		if n++; met[*k] != *r {
			t.Fatal("both ways find different entries")
		}
	}); err != nil || n != 3000 || len(met) != n {
		t.Errorf("%d entries, one by one %d (%v)", n, len(met), err)
	}
}

// TestTableUnload removes the maps of a table that nobody has.
func TestTableUnload(t *testing.T) {
	root := bpffs(t)
	if err := UnloadTable(root, ""); err != nil {
		t.Errorf("nothing to unload: %v", err)
	}
	table, _ := openTable(t, root, mirror.Limits{})
	if err := UnloadTable(root, ""); !errors.Is(err, ErrInUse) {
		t.Errorf("a table in use is unloaded: %v", err)
	}
	table.Close()
	if err := UnloadTable(root, ""); err != nil {
		t.Fatal(err)
	}
	if err := Unload(root, "default"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left: %v", err)
	}
}

// TestTableLeftover finds what a process left that was killed while it made maps.
func TestTableLeftover(t *testing.T) {
	root := bpffs(t)
	dir := filepath.Join(root, "default", unfinished+tableDir)
	if err := makeDirs(root, filepath.Dir(dir), dir); err != nil {
		t.Fatal(err)
	}
	pinIdentity(t, filepath.Join(dir, identityPin), tableMagic, TableABI)
	table, m := openTable(t, root, mirror.Limits{})
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) || filepath.Base(table.Dir()) != tableDir {
		t.Errorf("%s is used; the leftover: %v", table.Dir(), err)
	}
	sync(t, m, services(t, nil, 3))
	table.Close()

	// And one that was killed while it removed them.
	if err := os.Remove(filepath.Join(table.Dir(), "clusters")); err != nil {
		t.Fatal(err)
	}
	if _, err := ViewTable(root, ""); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("half of the maps are read: %v", err)
	}
	_, m = openTable(t, root, mirror.Limits{})
	want := services(t, nil, 5)
	sync(t, m, want)
	sameTable(t, want, viewTable(t, root).Table)
}

// pinIdentity pins the identity of somebody else.
func pinIdentity(t *testing.T, path string, magic uint64, abi uint32) {
	t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 16, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Put(uint32(0), tableIdentity{Magic: magic, Abi: abi}); err != nil {
		t.Fatal(err)
	}
	if err := m.Pin(path); err != nil {
		t.Fatal(err)
	}
}
