package harness

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sluice/scripts/lab"
)

// metricsPort is the next gateway's: two of them may share a namespace.
var metricsPort atomic.Uint32

func init() { metricsPort.Store(9102) }

// Gateway is a sluice process in a namespace.
type Gateway struct {
	Addr string // where it listens, host:port

	t       testing.TB
	ns      *lab.Namespace
	dir     string
	metrics string // where it answers HTTP
	cmd     *exec.Cmd
	ended   chan error // its end, once
	client  *http.Client
}

// Start runs a gateway that listens on addr and has the routes. It is stopped at
// the end of the test, if it was not before, and must then end well.
func Start(t testing.TB, ns *lab.Namespace, addr string, routes Routes, flags ...string) *Gateway {
	t.Helper()
	g := &Gateway{
		Addr:    addr,
		t:       t,
		ns:      ns,
		dir:     t.TempDir(),
		metrics: fmt.Sprintf("127.0.0.1:%d", metricsPort.Add(1)),
		ended:   make(chan error, 1),
		client: &http.Client{
			Timeout:   Patience,
			Transport: &http.Transport{DialContext: ns.Dial, DisableKeepAlives: true},
		},
	}
	g.SetRoutes(routes)
	g.cmd = exec.Command(Binary(t), append([]string{"gateway", "-listen", addr,
		"-routes", g.path("routes.hcl"), "-metrics-bind", g.metrics, "-log-format", "json",
		"-access-log", g.path("access.log"), "-drain-timeout", "30s"}, flags...)...)
	log, err := os.Create(g.path("sluice.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	g.cmd.Stdout, g.cmd.Stderr = log, log
	// With the race detector, a process would wait for a second before it exits.
	g.cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := ns.Start(g.cmd); err != nil {
		t.Fatal(err)
	}
	cmd := g.cmd
	go func() { g.ended <- cmd.Wait() }()
	t.Cleanup(g.cleanup)
	Eventually(t, "a gateway that is ready", g.ready)
	return g
}

func (g *Gateway) path(name string) string { return filepath.Join(g.dir, name) }

func (g *Gateway) ready() bool {
	select {
	case err := <-g.ended:
		g.ended <- err
		g.t.Fatalf("the gateway ended at once: %v\n%s", err, g.text("sluice.log"))
	default:
	}
	resp, err := g.client.Get("http://" + g.metrics + "/readyz")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// Stop ends the gateway with SIGTERM and checks that it ended well.
func (g *Gateway) Stop() {
	g.t.Helper()
	if g.cmd == nil {
		return
	}
	cmd := g.cmd
	g.cmd = nil
	_ = cmd.Process.Signal(syscall.SIGTERM)
	var err error
	select {
	case err = <-g.ended:
	case <-time.After(Patience):
		_ = cmd.Process.Signal(syscall.SIGQUIT) // for the stacks in its log
		err = errors.New("it did not end on SIGTERM")
		select {
		case <-g.ended:
		case <-time.After(Patience):
			_ = cmd.Process.Kill()
		}
	}
	log := g.text("sluice.log")
	if err != nil || strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic:") {
		g.t.Errorf("the gateway in %s ended badly: %v\n%s", g.ns.Name, err, log)
	}
}

func (g *Gateway) cleanup() {
	g.Stop()
	if g.t.Failed() {
		g.t.Logf("log of the gateway in %s:\n%s\naccess log:\n%s", g.ns.Name, tail(g.text("sluice.log")), tail(g.text("access.log")))
	}
}

func tail(s string) string {
	const most = 6000
	if len(s) > most {
		return "...\n" + s[len(s)-most:]
	}
	return s
}

func (g *Gateway) text(name string) string {
	b, err := os.ReadFile(g.path(name))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Log is what the gateway has said so far, access log not included.
func (g *Gateway) Log() string { return g.text("sluice.log") }

// Signal sends the process a signal.
func (g *Gateway) Signal(sig syscall.Signal) {
	g.t.Helper()
	if err := g.cmd.Process.Signal(sig); err != nil {
		g.t.Fatal(err)
	}
}

// Routes is a routing table: server name to the addresses of its endpoints.
type Routes map[string][]string

// SetRoutes puts a new file of routes in place at once.
func (g *Gateway) SetRoutes(routes Routes) {
	g.t.Helper()
	var b strings.Builder
	for name, endpoints := range routes {
		fmt.Fprintf(&b, "route %q {\n  cluster = %q\n}\ncluster %q {\n  connect_timeout = \"500ms\"\n", name, name, name)
		for _, e := range endpoints {
			fmt.Fprintf(&b, "  endpoint %q {}\n", e)
		}
		b.WriteString("}\n")
	}
	tmp := g.path("routes.hcl.new")
	if err := os.WriteFile(tmp, []byte(b.String()), 0o600); err != nil {
		g.t.Fatal(err)
	}
	if err := os.Rename(tmp, g.path("routes.hcl")); err != nil {
		g.t.Fatal(err)
	}
}

// Record is a line of the access log.
type Record struct {
	SNI, Route, Endpoint, Path, Reason, Detail, Source string
	Sent, Received                                     int64
	Attempts                                           int
}

// Records waits until n flows have ended in all, and returns them in the order of
// their end.
func (g *Gateway) Records(n int) []Record {
	g.t.Helper()
	var records []Record
	Eventually(g.t, fmt.Sprintf("%d lines in the access log of %s", n, g.ns.Name), func() bool {
		records = g.records()
		return len(records) >= n
	})
	return records
}

func (g *Gateway) records() []Record {
	var records []Record
	for line := range strings.Lines(g.text("access.log")) {
		var r Record
		if !strings.HasSuffix(line, "\n") {
			break // still being written
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			g.t.Fatalf("access log line %q: %v", line, err)
		}
		records = append(records, r)
	}
	return records
}

// Metric is the value of a series, written as /metrics has it.
func (g *Gateway) Metric(series string) float64 {
	g.t.Helper()
	resp, err := g.client.Get("http://" + g.metrics + "/metrics")
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), series+" "); ok {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				g.t.Fatal(err)
			}
			return v
		}
	}
	g.t.Fatalf("no series %s", series)
	return 0
}

// Idle waits until the gateway has no flow.
func (g *Gateway) Idle() {
	g.t.Helper()
	Eventually(g.t, "a gateway without flows", func() bool { return g.Metric("sluice_flows_active") == 0 })
}

// Descriptors is the number of open files of the process.
func (g *Gateway) Descriptors() int {
	g.t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.cmd.Process.Pid))
	if err != nil {
		g.t.Fatal(err)
	}
	return len(entries)
}

// RSS is the memory of the process, in bytes.
func (g *Gateway) RSS() int64 {
	g.t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", g.cmd.Process.Pid))
	if err != nil {
		g.t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kib int64
		if n, _ := fmt.Sscanf(lines.Text(), "Rss: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	g.t.Fatal("no Rss in smaps_rollup")
	return 0
}
