package loader

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/userspace/mirror"
	"sluice/userspace/route"
)

const (
	childRoot = "SLUICE_TEST_TABLE_ROOT" // where a child process finds the maps
	childRole = "SLUICE_TEST_TABLE_ROLE"
)

// TestTableChild is what other tests run in a process of its own.
func TestTableChild(t *testing.T) {
	root := os.Getenv(childRoot)
	switch os.Getenv(childRole) {
	case "": // it was not another test that began it
	case "read":
		v := viewTable(t, root)
		n, _ := v.Table.Len()
		state, _ := v.State(fmt.Sprintf(serviceName, 1))
		infos, err := Maps(root, "")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("read %d routes, %d bytes, %d maps\n", n, state.Counts.Sent, len(infos))
		if _, err := OpenTable(TableOptions{Root: root}); err == nil {
			t.Error("a reader can write")
		}
	case "churn":
		_, m := openTable(t, root, mirror.Limits{Routes: 64, Clusters: 64, Addresses: 256, Texts: 64})
		fmt.Println("begun")
		for turn := 0; ; turn++ {
			sync(t, m, shifted(t, turn))
		}
	}
}

func child(t *testing.T, binary, root, role string) *exec.Cmd {
	t.Helper()
	c := exec.Command(binary, "-test.run=^TestTableChild$", "-test.v")
	c.Env = append(os.Environ(), childRoot+"="+root, childRole+"="+role)
	return c
}

// TestTableGroup reads as a user without rights, but of the group.
func TestTableGroup(t *testing.T) {
	root := bpffs(t)
	const group = 54321
	table, err := OpenTable(TableOptions{Root: root, Group: group, Limits: mirror.Limits{Routes: 10}})
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	m, err := mirror.Open(table.Store())
	if err != nil {
		t.Fatal(err)
	}
	sync(t, m, services(t, nil, 3))
	_, s := m.Enter(fmt.Sprintf(serviceName, 1))
	s.Sent.Add(42)

	// The way there, and a test binary that others can run.
	for dir := filepath.Dir(root); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	binary := filepath.Join(filepath.Dir(filepath.Dir(root)), "child")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(binary, self, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(binary)
	for gid, want := range map[uint32]string{group: "read 3 routes, 42 bytes, 9 maps", group + 1: "permission denied"} {
		c := child(t, binary, root, "read")
		c.Dir = "/"
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: gid}}
		out, err := c.CombinedOutput()
		if !strings.Contains(string(out), want) || (err == nil) != (gid == group) {
			t.Errorf("as group %d: %v, %s; want %q", gid, err, out, want)
		}
	}
}

// shifted is a table in which names lead to other clusters at each turn: name i to
// cluster "i-j", whose one address has i and j in it.
func shifted(t testing.TB, turn int) *route.Table {
	t.Helper()
	rnd := rand.New(rand.NewPCG(uint64(turn), 0))
	var routes []*route.Route
	var clusters []*route.Cluster
	for i := range 30 {
		if rnd.IntN(4) == 0 {
			continue
		}
		c := service(fmt.Sprintf("%d-%d", i, rnd.IntN(3)), i)
		for range rnd.IntN(8) {
			c.Endpoints = append(c.Endpoints, service("", i|(len(c.Endpoints)+1)<<8).Endpoints[0])
		}
		clusters = append(clusters, c)
		name := fmt.Sprintf("s%d.x", i)
		if i%3 == 0 {
			name = "*." + name
		}
		routes = append(routes, &route.Route{Name: name, Cluster: c.Name})
	}
	table, err := route.Replace(nil, "test", routes, clusters)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// checkShifted fails when some name of shifted leads to another name's cluster.
func checkShifted(t testing.TB, s *mirror.Store, i int) {
	t.Helper()
	name := fmt.Sprintf("s%d.x", i)
	if i%3 == 0 {
		name = "a." + name
	}
	r, c, err := mirror.Lookup(s, []byte(name))
	if err != nil {
		t.Fatal(err)
	}
	if r == nil {
		return
	}
	if !strings.HasPrefix(c.Name, fmt.Sprintf("%d-", i)) || len(c.Endpoints) < 2 {
		t.Fatalf("%s leads to %s, of %d endpoints", name, c.Name, len(c.Endpoints))
	}
	for _, e := range c.Endpoints {
		if a := e.Addrs[0].Addr().As4(); a[3] != byte(i) {
			t.Fatalf("%s leads to %s with the address %s", name, c.Name, e)
		}
	}
}

// TestTableKilled kills a writer in the midst of its writes, again and again.
func TestTableKilled(t *testing.T) {
	root := bpffs(t)
	halves := 0
	for turn := range 12 {
		c := child(t, "/proc/self/exe", root, "churn")
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "begun"; {
		}
		time.Sleep(time.Duration(rand.IntN(20_000)) * time.Microsecond)
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, out)
		_ = c.Wait() // killed

		table, err := OpenTable(TableOptions{Root: root, Limits: mirror.Limits{Routes: 64, Clusters: 64, Addresses: 256, Texts: 64}})
		if err != nil {
			t.Fatal(err)
		}
		m, err := mirror.Open(table.Store())
		if err != nil {
			t.Fatal(err)
		}
		_, meta := m.Table()
		if meta.State == mirror.Writing {
			halves++
		}
		if d := m.Damage(); len(d) > 0 {
			t.Fatal(d)
		}
		for i := range 30 {
			checkShifted(t, table.Store(), i)
		}
		want := shifted(t, turn)
		sync(t, m, want)
		sameTable(t, want, viewTable(t, root).Table)
		if err := table.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d of 12 were killed in the midst of a change", halves)
}

// TestTableChurn looks names up while the table changes all the time.
func TestTableChurn(t *testing.T) {
	root := bpffs(t)
	_, m := openTable(t, root, mirror.Limits{Routes: 64, Clusters: 64, Addresses: 256, Texts: 64})
	sync(t, m, shifted(t, 0))
	reader, err := ViewTable(root, "")
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	stop, done := make(chan struct{}), make(chan int)
	go func() {
		turn := 1
		for ; ; turn++ {
			select {
			case <-stop:
				done <- turn
				return
			default:
			}
			if err := m.Sync(shifted(t, turn), mirror.About{}); err != nil {
				t.Error(err)
			}
		}
	}()
	whole := 0
	for i := range 20_000 {
		checkShifted(t, reader.Store(), i%30)
		if i%1000 > 0 {
			continue
		}
		v, err := mirror.Read(reader.Store())
		if err != nil {
			t.Fatal(err)
		}
		if v.Meta.State != mirror.Whole {
			continue
		}
		whole++
		if n, _ := v.Table.Len(); n != v.Meta.Routes || v.Damage != nil {
			t.Fatalf("read %d routes of %d, and %v", n, v.Meta.Routes, v.Damage)
		}
	}
	close(stop)
	t.Logf("20,000 look-ups and %d whole readings while %d tables came and went", whole, <-done)
}
