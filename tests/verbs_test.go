package tests

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/tests/harness"
)

// shortDir is a directory with a path that leaves room for the name of a socket, and
// that everybody may enter.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sluice-")
	harness.Must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	harness.Must(t, os.Chmod(dir, 0o755))
	return dir
}

// liveFlow is some of what "sluice flows" says of one.
type liveFlow struct {
	ID                          int
	Source, SNI, Route, Path    string
	State                       string
	Sent, Received              uint64
	Endpoint, Upstream, Cluster string
	Downstream                  *struct{ RTT float64 } `json:"downstream_tcp"`
	UpstreamTCP                 *struct{ RTT float64 } `json:"upstream_tcp"`
}

// TestVerbsOnFlows: a flow is listed with all that is known of it, chosen by route and
// source, watched, and reset.
func TestVerbsOnFlows(t *testing.T) {
	socket := filepath.Join(shortDir(t), "a.sock")
	s := newSite(t, path{name: "splice"}, oneHop, "-instance", "verbs", "-admin-socket", socket)
	f := s.open(t)
	list := func(args ...string) (flows []liveFlow) {
		t.Helper()
		out := sluice(t, 0, append([]string{"flows", "-socket", socket, "-format=json"}, args...)...)
		harness.Must(t, json.Unmarshal([]byte(out), &flows))
		return flows
	}
	flows := list("-sort=rate", "-limit=5")
	if len(flows) != 1 {
		t.Fatalf("%d flows: %+v", len(flows), flows)
	}
	l := flows[0]
	if l.SNI != serverName || l.Route != serverName || l.Path != "splice" || l.State != "carried" || l.Sent == 0 ||
		l.Source != f.client.LocalAddr().String() || l.Endpoint == "" || l.Downstream == nil || l.Downstream.RTT == 0 || l.UpstreamTCP == nil {
		t.Errorf("the flow is listed as %+v", l)
	}
	if out := sluice(t, 0, "flows", "-socket", socket); !strings.Contains(out, "RETRANS") || !strings.Contains(out, serverName) {
		t.Errorf("the table of flows:\n%s", out)
	}
	source := s.Namespaces[0].Right.IPv4.String()
	for n, which := range map[string][]string{
		"1 1": {"-route", serverName}, "1 2": {"-source", source}, "0 1": {"-route", "other.x"}, "0 2": {"-source", "192.0.2.0/24"},
	} {
		if got := list(which...); fmt.Sprint(len(got)) != n[:1] {
			t.Errorf("%q: %d flows", which, len(got))
		}
	}

	watch := exec.CommandContext(t.Context(), harness.Binary(t), "top", "-socket", socket, "-interval", "20ms")
	out, err := watch.StdoutPipe()
	harness.Must(t, err)
	harness.Must(t, watch.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.Contains(line, `state="ready" flows=1 `) {
		t.Errorf("top without a terminal: %q, %v", line, err)
	}
	harness.Must(t, watch.Process.Signal(os.Interrupt))
	_, _ = io.Copy(io.Discard, out)
	if err := watch.Wait(); err != nil {
		t.Errorf("top, interrupted: %v", err)
	}

	sluice(t, 1, "kill", "-socket", socket, "-route", "other.x")
	if out := sluice(t, 0, "kill", "-socket", socket, fmt.Sprint(l.ID)); out != "flows reset: 1\n" {
		t.Errorf("kill: %q", out)
	}
	harness.Must(t, f.client.SetReadDeadline(time.Now().Add(harness.Patience)))
	if _, err := f.client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client of a flow that was reset: %v", err)
	}
	harness.Eventually(t, "no flows", func() bool { flows = list(); return len(flows) == 0 }, func() any { return flows })
	for _, by := range [][]string{{"-route", serverName}, {"-source", "10.0.0.0/8"}} {
		s.open(t)
		if out := sluice(t, 0, append([]string{"kill", "-socket", socket}, by...)...); out != "flows reset: 1\n" {
			t.Errorf("kill %q: %q", by, out)
		}
	}
}

// TestVerbsWithoutRights: a group may read the maps and ask the gateway; others are told
// what it takes.
func TestVerbsWithoutRights(t *testing.T) {
	const group = 54321
	dir := shortDir(t)
	socket := filepath.Join(dir, "a.sock")
	newSite(t, path{name: "splice"}, oneHop, "-instance", "rights", "-admin-socket", socket, "-admin-group", fmt.Sprint(group))
	// One that others can run.
	program, err := os.ReadFile(harness.Binary(t))
	harness.Must(t, err)
	binary := filepath.Join(dir, "sluice")
	harness.Must(t, os.WriteFile(binary, program, 0o755))
	as := func(gid uint32, args ...string) (int, string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), binary, args...)
		cmd.Dir = "/"
		cmd.Env = append(os.Environ(), "SLUICE_BPF_DIR="+harness.BPF(t), "SLUICE_INSTANCE=rights", "SLUICE_ADMIN_SOCKET="+socket, "GORACE=atexit_sleep_ms=0")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: gid}}
		out, err := cmd.CombinedOutput()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), string(out)
	}
	const noMaps, noSocket = `no right to read the maps of gateway "rights": they are for root and the group of its -admin-group`, "no right to ask the agent at "
	for _, c := range []struct{ verb, want, denied string }{
		{"status", "ready", noSocket},
		{"flows", "RETRANS", noSocket},
		{"reload", "read again", noSocket},
		{"routes", serverName, noMaps},
		{"explain " + serverName, "Served:", noMaps},
		{"maps", "LPMTrie", noMaps},
		{"maps routes", serverName, noMaps},
		{"policy", "CREDIT", noMaps},
	} {
		if status, out := as(group, strings.Fields(c.verb)...); status != 0 || !strings.Contains(out, c.want) {
			t.Errorf("%s as the group: status %d:\n%s", c.verb, status, out)
		}
		if status, out := as(group+1, strings.Fields(c.verb)...); status != 1 || !strings.Contains(out, c.denied) {
			t.Errorf("%s as nobody: status %d:\n%s", c.verb, status, out)
		}
	}
	if status, out := as(group+1, "unload"); status != 1 || !strings.Contains(out, "permission denied") {
		t.Errorf("unload as nobody: status %d:\n%s", status, out)
	}
}
