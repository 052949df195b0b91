package loader

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"sluice/userspace/slot"
)

// list is the directories in an instance's.
func list(t *testing.T, dir string) []string {
	t.Helper()
	names, err := generations(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestPins(t *testing.T) {
	unix.Umask(0o077) // must not matter
	defer unix.Umask(0o022)
	d := loadFor(t, Options{Instance: "a"})
	dir := d.gen.dir()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	want := []string{"cookies", "counters", "identity", "policies", "rings", "sockets", "verdict", "ways"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pins (- want, + got):\n%s", diff)
	}
	for _, dir := range []string{dir, filepath.Dir(dir), filepath.Dir(filepath.Dir(dir))} {
		st, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm() != 0o750 {
			t.Errorf("%s has mode %v", dir, st.Mode())
		}
	}
	id, err := readIdentity(dir)
	if err != nil || id != (Identity{magic, ABI}) {
		t.Errorf("identity %+v, %v", id, err)
	}
	m, err := ebpf.LoadPinnedMap(filepath.Join(dir, "identity"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Put(uint32(0), make([]byte, m.ValueSize())); !errors.Is(err, unix.EPERM) {
		t.Errorf("write to the identity: %v, want that it is forbidden", err)
	}
}

// TestUpgrade has a second process begin while the first one lives, as far as locks
// tell: each has its own generation, and removes no other.
func TestUpgrade(t *testing.T) {
	opts := Options{Root: bpffs(t), Instance: "a", Flows: 8}
	dir := filepath.Join(opts.Root, "a")
	first, err := Load(opts)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Load(opts)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"1", "2"}, list(t, dir)); diff != "" {
		t.Errorf("generations (- want, + got):\n%s", diff)
	}
	if err := Unload(opts.Root, "a"); !errors.Is(err, ErrInUse) {
		t.Errorf("Unload: %v, want %v", err, ErrInUse)
	}
	first.Ways()[0].Peer.Store(1)
	if second.Ways()[0].Peer.Load() != 0 {
		t.Error("generations share their ways")
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"2"}, list(t, dir)); diff != "" {
		t.Errorf("generations (- want, + got):\n%s", diff)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if err := Unload(opts.Root, "a"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(opts.Root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the root is still there: %v", err)
	}
	if err := Unload(opts.Root, "a"); err != nil {
		t.Errorf("a second Unload: %v", err)
	}
}

// TestRootIsTheMount has the pins right where the file system is mounted, and then
// where there is none.
func TestRootIsTheMount(t *testing.T) {
	mount := filepath.Dir(bpffs(t))
	d, err := Load(Options{Root: mount, Instance: "a", Flows: 8})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if err := Unload(mount, "a"); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string(nil), list(t, mount)); diff != "" {
		t.Errorf("left (- want, + got):\n%s", diff)
	}
	for _, root := range []string{t.TempDir(), t.TempDir() + "/sluice"} {
		if _, err := Load(Options{Root: root, Instance: "a", Flows: 8}); err == nil || !strings.Contains(err.Error(), "is not on a BPF file system: mount one") {
			t.Errorf("Load in %s: %v", root, err)
		}
	}
}

// abandon makes the generation look as if its process had been killed.
func abandon(d *Datapath) {
	d.gen.release()
	d.release()
}

func TestSweep(t *testing.T) {
	opts := Options{Root: bpffs(t), Instance: "a", Flows: 8}
	dir := filepath.Join(opts.Root, "a")
	for range 2 {
		d, err := Load(opts)
		if err != nil {
			t.Fatal(err)
		}
		abandon(d)
	}
	// One that was killed while it filled its directory.
	if err := os.Mkdir(filepath.Join(dir, "new-9"), 0o750); err != nil {
		t.Fatal(err)
	}
	d, err := Load(opts)
	if err != nil {
		t.Fatal(err)
	}
	if got := list(t, dir); len(got) != 1 {
		t.Errorf("generations %v are left", got)
	}
	all, err := List(opts.Root)
	if err != nil || len(all) != 1 || !all[0].Alive || all[0].Foreign || all[0].Instance != "a" || len(all[0].Tag) != 16 {
		t.Errorf("List: %+v, %v", all, err)
	}
	abandon(d)
	if err := Unload(opts.Root, "a"); err != nil {
		t.Error(err)
	}
	if all, err := List(opts.Root); err != nil || len(all) != 0 {
		t.Errorf("List: %+v, %v", all, err)
	}
}

// TestForeign leaves alone what does not have Sluice's magic, and removes, but never
// reads, what another version left.
func TestForeign(t *testing.T) {
	opts := Options{Root: bpffs(t), Instance: "a", Flows: 8}
	dir := filepath.Join(opts.Root, "a")
	pin := func(name string, magic uint64, abi uint32) {
		t.Helper()
		m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 16, MaxEntries: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		value := struct {
			Magic     uint64
			ABI, none uint32
		}{magic, abi, 0}
		if err := m.Put(uint32(0), &value); err != nil {
			t.Fatal(err)
		}
		if err := makeDirs(filepath.Dir(dir), dir, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if err := m.Pin(filepath.Join(dir, name, identityPin)); err != nil {
			t.Fatal(err)
		}
	}
	pin("3", magic+1, ABI)
	pin("4", magic, ABI+1)
	all, err := List(opts.Root)
	if err != nil || len(all) != 2 || !all[0].Foreign || !all[1].Foreign {
		t.Errorf("List: %+v, %v", all, err)
	}
	d, err := Load(opts)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"3", "4"}, list(t, dir)); diff != "" {
		t.Errorf("generations (- want, + got):\n%s", diff)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if err := Unload(opts.Root, "a"); err == nil || !strings.Contains(err.Error(), "not Sluice's") {
		t.Errorf("Unload: %v", err)
	}
	if got := list(t, dir); len(got) != 1 {
		t.Errorf("generations %v are left", got)
	}
}

func TestBadOptions(t *testing.T) {
	root := bpffs(t)
	for _, name := range []string{"a.b", "..", "a/b", "a b", strings.Repeat("a", 65)} {
		if d, err := Load(Options{Root: root, Instance: name}); err == nil {
			t.Errorf("instance %q: no error", name)
			d.Close()
		}
	}
	if d, err := Load(Options{Root: t.TempDir() + "/sluice"}); err == nil || !strings.Contains(err.Error(), "mount -t bpf") {
		t.Errorf("not on bpffs: %v", err)
		if err == nil {
			d.Close()
		}
	}
}

// TestAttached is fact 8 of DESIGN.md: sockets in a map without a verdict may lose
// wake-ups, so it is there before any of them.
func TestAttached(t *testing.T) {
	d := loadFor(t, Options{})
	got, err := link.QueryPrograms(link.QueryOptions{Target: d.objects.Sockets.FD(), Attach: ebpf.AttachSkSKBVerdict})
	if err != nil {
		t.Fatal(err)
	}
	info, err := d.objects.SluiceVerdict.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	if len(got.Programs) != 1 || got.Programs[0].ID != id {
		t.Errorf("programs %+v are attached, want %d", got.Programs, id)
	}
}

// TestAccess goes through the maps.
func TestAccess(t *testing.T) {
	d := loadFor(t, Options{Flows: 4, Routes: 3})
	if len(d.Ways()) != 8 || d.Policies() != 4 {
		t.Errorf("%d ways, %d policies", len(d.Ways()), d.Policies())
	}
	if err := d.Bind(7, 1); err != nil {
		t.Error(err)
	}
	if err := d.Bind(7, 2); !errors.Is(err, ebpf.ErrKeyExist) {
		t.Errorf("bind a cookie twice: %v", err)
	}
	if n, err := d.Bound(); n != 1 || err != nil {
		t.Errorf("%d are bound, %v", n, err)
	}
	for range 2 {
		if err := d.Unbind(7); err != nil {
			t.Error(err)
		}
	}
	if err := d.SetPolicy(3, slot.Policy{Rule: slot.Off, Credit: 9}); err != nil {
		t.Error(err)
	}
	var p slot.Policy
	if err := d.objects.Policies.Lookup(uint32(3), &p); err != nil || p != (slot.Policy{Rule: slot.Off, Credit: 9}) {
		t.Errorf("policy %+v, %v", p, err)
	}
	if err := d.SetPolicy(4, slot.Policy{}); err == nil {
		t.Error("sets a policy that there is no room for")
	}
	if err := d.Insert(7, 0); err == nil {
		t.Error("inserts what is no socket")
	}
	events, err := d.Events(0)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, err := events.Next(); ok || err != nil {
		t.Errorf("an event of nothing: %v, %v", ok, err)
	}
	if err := events.Close(); err != nil {
		t.Error(err)
	}
	if _, err := d.Events(1); err == nil {
		t.Error("makes a ring for a worker that there is no room for")
	}
}

// TestLookedAt takes a lock again and again while somebody asks whether it is held: who
// asks is not in the way.
func TestLookedAt(t *testing.T) {
	dir := t.TempDir()
	stop, asked := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(asked)
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Microsecond):
			}
			if _, err := alive(dir); err != nil {
				t.Error(err)
			}
		}
	}()
	for range 2000 {
		lock, err := lockDir(dir)
		if err != nil {
			t.Error(err)
			break
		}
		lock.Close()
	}
	close(stop)
	<-asked
}
