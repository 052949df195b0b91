package lab_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/scripts/lab"
	"sluice/scripts/lab/labtest"
)

func TestNamesRefused(t *testing.T) {
	for _, chain := range [][]string{
		{""}, {"a", "a"}, {"Client"}, {"a/b"}, {"a-b"}, {".."}, {"sixteenletters16"},
	} {
		if l, err := lab.New("sluice-test", lab.Options{Chain: chain}); err == nil {
			t.Errorf("New with chain %q: no error", chain)
			l.Close()
		}
	}
	labtest.NeedRoot(t)
	for _, prefix := range []string{"", "-", "../x", "a_b", "a-", "A"} {
		if l, err := lab.New(prefix, lab.Options{}); err == nil {
			t.Errorf("New with prefix %q: no error", prefix)
			l.Close()
		}
	}
}

func TestBuildAndClose(t *testing.T) {
	labtest.NoLeaks(t)
	start := time.Now()
	l := labtest.New(t)
	t.Logf("built in %v", time.Since(start))

	var got []string
	for _, n := range l.Namespaces {
		got = append(got, n.Name)
		if _, err := os.Lstat(filepath.Join("/run/netns", n.Full)); err != nil {
			t.Errorf("namespace %s has no name: %v", n.Name, err)
		}
		if l.NS(n.Name) != n {
			t.Errorf("NS(%q) is another one", n.Name)
		}
	}
	if diff := cmp.Diff([]string{"client", "dc1", "dc2", "server"}, got); diff != "" {
		t.Errorf("chain (- want, + got):\n%s", diff)
	}
	if err := os.WriteFile(filepath.Join(l.Dir, "x"), nil, 0o644); err != nil {
		t.Errorf("write to the lab's directory: %v", err)
	}

	start = time.Now()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("removed in %v", time.Since(start))
	if _, err := os.Lstat(l.Dir); err == nil {
		t.Errorf("%s is still there", l.Dir)
	}
	if err := l.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if err := l.NS("client").Do(func() error { return nil }); err == nil {
		t.Error("Do after Close: no error")
	}
	if err := l.Keep(); err == nil {
		t.Error("Keep after Close: no error")
	}
}

// TestLooksLikeIP checks what a person with ip(8) sees: the named namespace, and
// its interfaces.
func TestLooksLikeIP(t *testing.T) {
	l := labtest.New(t)
	out, err := exec.Command("ip", "netns", "exec", l.NS("dc1").Full, "ip", "-brief", "address").CombinedOutput()
	if err != nil {
		t.Fatalf("ip netns exec: %v: %s", err, out)
	}
	for _, want := range []string{"client@", "10.0.1.2/24", "fd51:ce:0:1::2/64", "dc2@", "10.0.2.1/24", "fd51:ce:0:2::1/64"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("ip address in dc1 lacks %q:\n%s", want, out)
		}
	}
}

func TestForwarding(t *testing.T) {
	labtest.NoLeaks(t)
	l := labtest.New(t)
	client, server := l.NS("client"), l.NS("server")
	if n := len(server.Left.More); n != 6 {
		t.Fatalf("the server has %d more addresses, want 3 IPv4 and 3 IPv6", n)
	}
	for _, ip := range append([]netip.Addr{server.Left.IPv4, server.Left.IPv6}, server.Left.More...) {
		t.Run(ip.String(), func(t *testing.T) {
			want := "cubic " + addrLike(client.Right, ip).String()
			if got := call(t, client, server, ip); got != want {
				t.Errorf("the server saw %q, want %q", got, want)
			}
		})
	}
	// The gateways are reachable at the address of the side one comes from.
	for _, name := range []string{"dc1", "dc2"} {
		for _, ip := range []netip.Addr{l.NS(name).Left.IPv4, l.NS(name).Left.IPv6} {
			call(t, client, l.NS(name), ip)
		}
	}
}

// addrLike is the link's address of the same family.
func addrLike(l *lab.Link, ip netip.Addr) netip.Addr {
	if ip.Is4() {
		return l.IPv4
	}
	return l.IPv6
}

// call connects from one namespace to an address of the other, where a server
// answers with its congestion control and the address it was called from.
func call(t *testing.T, from, to *lab.Namespace, ip netip.Addr) string {
	t.Helper()
	ln, err := to.Listen("tcp", netip.AddrPortFrom(ip, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	served := make(chan error, 1)
	go func() { served <- answer(ln) }()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := from.Dial(ctx, "tcp", ln.Addr().String())
	if err != nil {
		t.Fatalf("dial %s from %s: %v", ln.Addr(), from.Name, err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if cc, err := congestion(conn.(*net.TCPConn)); err != nil || cc != "cubic" && from != to {
		t.Errorf("the caller's congestion control is %q, %v; want cubic", cc, err)
	}
	got, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("read from %s: %v", ln.Addr(), err)
	}
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	return string(got)
}

func answer(ln net.Listener) error {
	conn, err := ln.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	cc, err := congestion(conn.(*net.TCPConn))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(conn, "%s %s", cc, conn.RemoteAddr().(*net.TCPAddr).IP)
	return err
}

func TestShorterLabs(t *testing.T) {
	labtest.NoLeaks(t)
	alone := labtest.New(t, "alone").NS("alone")
	if alone.Left != nil || alone.Right != nil {
		t.Errorf("a single namespace has links: %v, %v", alone.Left, alone.Right)
	}
	call(t, alone, alone, netip.MustParseAddr("127.0.0.1"))
	call(t, alone, alone, netip.MustParseAddr("::1"))

	three := labtest.New(t, "client", "gw", "server") // beside the first
	server := three.NS("server")
	call(t, three.NS("client"), server, server.Left.More[0])
	if got := server.Left.More[0].String(); got != "10.0.2.11" {
		t.Errorf("first further address %s, want 10.0.2.11", got)
	}
	if three.NS("dc1") != nil {
		t.Error("NS of a name that is not in the chain is not nil")
	}
}

// TestForeignNamespace checks that a namespace of somebody else's, which has a
// name of ours, makes New fail, and that cleaning up leaves it there.
func TestForeignNamespace(t *testing.T) {
	labtest.NeedRoot(t)
	labtest.NoLeaks(t)
	var id, foreign string
	l, err := lab.NewAfter("sluice-test", []string{"a", "b", "c"}, func(claimed string) {
		id = claimed
		foreign = filepath.Join("/run/netns", id+"-b")
		if err := os.MkdirAll("/run/netns", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(foreign, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	})
	defer os.Remove(foreign)
	if err == nil {
		l.Close()
		t.Fatal("New over a foreign namespace: no error")
	}
	if !strings.Contains(err.Error(), id+"-b") {
		t.Errorf("the error does not name the namespace: %v", err)
	}
	if _, err := os.Lstat(foreign); err != nil {
		t.Errorf("the foreign namespace is gone: %v", err)
	}
	for _, path := range []string{"/run/netns/" + id + "-a", "/run/sluice-lab/" + id} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s was left behind", path)
		}
	}
}

func TestKeepAndDown(t *testing.T) {
	labtest.NeedRoot(t)
	labtest.NoLeaks(t)
	const prefix = "sluice-testkeep"
	if _, err := lab.Down(prefix); err != nil { // of a run of this test that was killed
		t.Fatal(err)
	}
	kept, err := lab.New(prefix, lab.Options{Chain: []string{"one"}})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join("/run/netns", kept.NS("one").Full)
	sleep := exec.Command("sleep", "600")
	if err := kept.NS("one").Start(sleep); err != nil {
		t.Fatal(err)
	}
	if err := kept.Keep(); err != nil {
		t.Fatal(err)
	}
	defer lab.Down(prefix)

	labtest.New(t, "two") // sweeps
	if _, err := os.Lstat(name); err != nil {
		t.Fatalf("New removed a kept lab: %v", err)
	}
	live, err := lab.New(prefix, lab.Options{Chain: []string{"one"}})
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	if live.ID == kept.ID {
		t.Fatalf("both labs are %s", live.ID)
	}
	if got, err := lab.Down("sluice"); err != nil || strings.Contains(fmt.Sprint(got), prefix) {
		t.Errorf("Down of a shorter prefix removed %v, %v", got, err)
	}
	got, err := lab.Down(prefix)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(fmt.Sprint(got), kept.ID) || strings.Contains(fmt.Sprint(got), live.ID) {
		t.Errorf("Down removed %v, want %s and not %s, whose owner lives", got, kept.ID, live.ID)
	}
	if _, err := os.Lstat(name); err == nil {
		t.Error("Down left the namespace")
	}
	if err := sleep.Wait(); err == nil {
		t.Error("the process in the lab ended by itself, want killed")
	}
}

func TestRecordNamesOnlyItsOwn(t *testing.T) {
	for name, ok := range map[string]bool{
		"demo-1-client": true,
		"demo-1-":       true,
		"demo-12-x":     false,
		"other":         false,
		"demo-1-/../x":  false,
		"":              false,
	} {
		if err := lab.CheckRecord("demo-1", name); (err == nil) != ok {
			t.Errorf("record of demo-1 with %q: %v, want ok %v", name, err, ok)
		}
	}
}

func TestCloseEndsProcesses(t *testing.T) {
	labtest.NoLeaks(t)
	l := labtest.New(t, "only")
	// A shell that does not die of SIGTERM, with a child of its own.
	cmd := exec.Command("sh", "-c", "trap '' TERM; sleep 600 & echo $!; wait")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.NS("only").Start(cmd); err != nil {
		t.Fatal(err)
	}
	var child int
	if _, err := fmt.Fscan(out, &child); err != nil {
		t.Fatal(err)
	}
	want, err := os.Stat(filepath.Join("/run/netns", l.NS("only").Full))
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{cmd.Process.Pid, child} {
		got, err := os.Stat(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err != nil || !os.SameFile(got, want) {
			t.Errorf("process %d is not in the namespace: %v", pid, err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the process ended by itself, want killed")
	}
	// Dead, though perhaps not yet reaped by whom it fell to.
	if _, err := os.Stat(fmt.Sprintf("/proc/%d/exe", child)); err == nil {
		t.Error("its child lives")
	}
}
