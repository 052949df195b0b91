package tests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sluice/tests/harness"
)

// TestTableOutlivesTheGateway: routes, what they did and what an operator has set can be
// read while the gateway runs and after it was killed, and hold for the next one.
func TestTableOutlivesTheGateway(t *testing.T) {
	dir, err := os.MkdirTemp("", "sluice-") // the path of a socket has little room
	harness.Must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "a.sock")
	s := newSite(t, path{name: "splice"}, oneHop, "-instance", "outlives", "-admin-socket", socket)
	g := s.gateways[0]
	harness.All(t, bothWays(s.open(t), 1<<20, 1<<20, 64<<10)...)

	sees := func(what string, flows uint64) {
		t.Helper()
		var rows []struct {
			Name, Cluster  string
			Flows          uint64
			Sent, Received uint64
		}
		harness.Eventually(t, what, func() bool {
			out := sluice(t, 0, "routes", "-instance", "outlives", "-format=json")
			harness.Must(t, json.Unmarshal([]byte(out), &rows))
			return len(rows) == 1 && rows[0].Name == serverName && rows[0].Flows == flows && rows[0].Sent >= 1<<20 && rows[0].Received >= 1<<20
		}, func() any { return rows })
	}
	sees("a route with its flow", 1)
	for series, want := range map[string]float64{
		fmt.Sprintf("sluice_route_flows_total{route=%q}", serverName): 1,
		`sluice_map_entries{map="routes"}`:                            1,
	} {
		if got := g.Metric(series); got != want {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
	sluice(t, 0, "policy", serverName, "-limit=1", "-credit=128KiB", "-socket", socket)
	first := s.open(t)
	s.wantRefused(t, "one flow too many")

	g.Kill()
	first.client.Close()
	sees("what a killed gateway has left", 3)
	if out := sluice(t, 0, "explain", "-instance", "outlives", serverName); !strings.Contains(out, "Leads to:") {
		t.Errorf("explain:\n%s", out)
	}
	if out := sluice(t, 3, "explain", "-instance", "outlives", "nobody."+serverName); !strings.Contains(out, "unknown_name") {
		t.Errorf("explain:\n%s", out)
	}
	if out := sluice(t, 0, "policy", "-instance", "outlives"); !strings.Contains(out, serverName) || !strings.Contains(out, "131072") {
		t.Errorf("policies:\n%s", out)
	}
	if out := sluice(t, 0, "maps", "-instance", "outlives"); !strings.Contains(out, "LPMTrie") {
		t.Errorf("maps:\n%s", out)
	}
	if out := sluice(t, 0, "maps", "-instance", "outlives", "routes", serverName); !strings.Contains(out, `"cluster"`) {
		t.Errorf("the route's entry:\n%s", out)
	}

	g.Restart()
	second := s.open(t)
	s.wantRefused(t, "a limit that was forgotten")
	sluice(t, 0, "policy", serverName, "-clear", "-socket", socket)
	harness.All(t, bothWays(s.open(t), 1<<10, 1<<10, 64<<10)...)
	second.client.Close()
	g.Kill()
	sluice(t, 0, "unload", "-instance", "outlives")
	sluice(t, 1, "routes", "-instance", "outlives")
}

// wantRefused opens a flow that must not come through.
func (s *site) wantRefused(t *testing.T, what string) {
	t.Helper()
	c := s.dial(t)
	_, err := c.Write(s.hello)
	harness.Must(t, err)
	if n, err := c.Read(make([]byte, 100)); n == 0 || err != nil { // an alert
		t.Errorf("%s: read %d bytes, %v", what, n, err)
	}
	c.Close()
}

// sluice runs a verb that must end with a status, and returns what it prints on stdout.
func sluice(t *testing.T, status int, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), harness.Binary(t), args...)
	cmd.Env = append(os.Environ(), "SLUICE_BPF_DIR="+harness.BPF(t), "GORACE=atexit_sleep_ms=0")
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if cmd.ProcessState.ExitCode() != status {
		t.Errorf("sluice %s: %v, want status %d\n%s%s", strings.Join(args, " "), err, status, out, errs.String())
	}
	return string(out)
}

// TestKernelCountsRoutes: what programs move of a route is counted in its maps, and to
// be seen when the gateway is gone.
func TestKernelCountsRoutes(t *testing.T) {
	s := newSite(t, path{name: "sockmap"}, oneHop, "-instance", "counts")
	g := s.gateways[0]
	const exchanges, request, answer = 100, 100, 300
	f := s.open(t)
	for range exchanges {
		harness.Must(t, pass(f.client, f.server, request))
		harness.Must(t, pass(f.server, f.client, answer))
	}
	f.client.Close()
	f.server.Close()

	type row struct {
		Flows          uint64
		Active         int64
		Sent, Received uint64
		KernelSent     uint64 `json:"kernel_sent"`
		KernelReceived uint64 `json:"kernel_received"`
	}
	read := func() (r row) {
		var rows []row
		harness.Must(t, json.Unmarshal([]byte(sluice(t, 0, "routes", "-instance", "counts", "-format=json")), &rows))
		if len(rows) == 1 {
			r = rows[0]
		}
		return r
	}
	var got row
	harness.Eventually(t, "the flow's end", func() bool {
		got = read()
		return got.Flows == 1 && got.Active == 0
	}, func() any { return got })
	// It is a program's choice to leave bytes to userspace.
	if got.KernelSent < (exchanges-10)*request || got.KernelSent > got.Sent || got.Sent != exchanges*request+uint64(len(s.hello)) {
		t.Errorf("programs sent %d bytes of %d", got.KernelSent, got.Sent)
	}
	if got.KernelReceived < (exchanges-10)*answer || got.KernelReceived > got.Received || got.Received != exchanges*answer {
		t.Errorf("programs brought back %d bytes of %d", got.KernelReceived, got.Received)
	}
	for direction, want := range map[string]uint64{"sent": got.KernelSent, "received": got.KernelReceived} {
		series := fmt.Sprintf("sluice_route_kernel_bytes_total{direction=%q,route=%q}", direction, serverName)
		if m := g.Metric(series); m != float64(want) {
			t.Errorf("%s is %v, want %v", series, m, want)
		}
	}
	g.Kill()
	if left := read(); left != got {
		t.Errorf("a killed gateway has left %+v, and had %+v", left, got)
	}
	if out := sluice(t, 0, "maps", "-instance", "counts", "route_traffic"); !strings.Contains(out, fmt.Sprint(got.KernelSent)) {
		t.Errorf("the map:\n%s", out)
	}
	// The next one's programs go on counting in it.
	g.Restart()
	f = s.open(t)
	harness.Must(t, pass(f.server, f.client, answer))
	harness.Must(t, pass(f.client, f.server, request))
	harness.Eventually(t, "more", func() bool { return read().KernelReceived == got.KernelReceived+answer }, func() any { return read() })
	g.Kill()
	sluice(t, 0, "unload", "-instance", "counts")
}

// pass sends some bytes and waits for them at the other end.
func pass(from, to io.ReadWriter, n int) error {
	b := bytes.Repeat([]byte{1}, n)
	if _, err := from.Write(b); err != nil {
		return err
	}
	_, err := io.ReadFull(to, b)
	return err
}
