package harness

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

	// From the next SetRoutes on:
	Path           string        // that every route asks for
	ConnectTimeout time.Duration // of every cluster; at first longer than any SYN is lost for

	t        testing.TB
	ns       *lab.Namespace
	dir      string
	metrics  string // where it answers HTTP
	args     []string
	cmd      *exec.Cmd  // nil once it was ended
	ended    chan error // its end, once
	instance string
	client   *http.Client
}

// Workers is how many event loops a gateway has, on every machine.
const Workers = 2

// Config says what gateway to start.
type Config struct {
	Listen string // host:port
	Routes Routes
	Path   string   // that every route asks for; "": the gateway's choice
	Flags  []string // more of them, which win over the harness's own
}

// Start runs a gateway in the namespace and returns when it is ready. It is stopped
// at the end of the test, if it was not before, and must then end well.
func Start(t testing.TB, ns *lab.Namespace, conf Config) *Gateway {
	t.Helper()
	g := &Gateway{
		Addr:           conf.Listen,
		Path:           cmp.Or(conf.Path, "auto"),
		ConnectTimeout: Patience / 2,
		t:              t,
		ns:             ns,
		dir:            t.TempDir(),
		metrics:        fmt.Sprintf("127.0.0.1:%d", metricsPort.Add(1)),
		instance:       fmt.Sprint("test-", metricsPort.Load()),
		ended:          make(chan error, 1),
		client: &http.Client{
			Timeout:   Patience,
			Transport: &http.Transport{DialContext: ns.Dial, DisableKeepAlives: true},
		},
	}
	if i := slices.Index(conf.Flags, "-instance"); i >= 0 {
		g.instance = conf.Flags[i+1]
	}
	g.SetRoutes(conf.Routes)
	g.args = append([]string{"gateway", "-listen", conf.Listen,
		"-routes", g.file("routes.hcl"), "-metrics-bind", g.metrics, "-log-format", "json",
		"-access-log", g.file("access.log"), "-drain-timeout", "30s", "-admin-socket", "off",
		"-bpf-dir", BPF(t), "-instance", g.instance,
		"-pinned-routes", "1000", "-pinned-clusters", "1000", "-pinned-addresses", "1000", // quick to make
		"-workers", strconv.Itoa(Workers)}, conf.Flags...)
	t.Cleanup(g.cleanup)
	g.run()
	return g
}

// run starts the process and waits until it is ready.
func (g *Gateway) run() {
	g.t.Helper()
	cmd := exec.Command(Binary(g.t), g.args...)
	log, err := os.Create(g.file("sluice.log"))
	if err != nil {
		g.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	// With the race detector, a process would wait for a second before it exits.
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := g.ns.Start(cmd); err != nil {
		g.t.Fatal(err)
	}
	g.cmd = cmd
	go func() { g.ended <- cmd.Wait() }()
	Eventually(g.t, "a gateway that is ready", g.ready)
}

func (g *Gateway) file(name string) string { return filepath.Join(g.dir, name) }

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
	if err := verdict(err, g.text("sluice.log")); err != nil {
		g.t.Errorf("the gateway in %s: %v", g.ns.Name, err)
	}
}

// Kill ends the gateway with SIGKILL.
func (g *Gateway) Kill() {
	g.t.Helper()
	g.Signal(syscall.SIGKILL)
	<-g.ended
	g.cmd = nil
}

// Restart starts a gateway that has ended again, with empty logs.
func (g *Gateway) Restart() {
	g.t.Helper()
	if err := os.Remove(g.file("access.log")); err != nil {
		g.t.Fatal(err)
	}
	g.run()
}

// Rotate has the gateway begin its access log anew.
func (g *Gateway) Rotate() {
	g.t.Helper()
	if err := os.Remove(g.file("access.log")); err != nil {
		g.t.Fatal(err)
	}
	g.Signal(syscall.SIGHUP)
	Eventually(g.t, "a new access log", func() bool {
		_, err := os.Stat(g.file("access.log"))
		return err == nil
	})
}

// verdict judges a gateway by how it ended and what it had said.
func verdict(end error, log string) error {
	for _, sign := range []string{"DATA RACE", "panic:", "fatal error:"} {
		if end == nil && strings.Contains(log, sign) {
			end = errors.New(sign)
		}
	}
	if end != nil {
		return fmt.Errorf("ended badly: %w\n%s", end, log)
	}
	return nil
}

func (g *Gateway) cleanup() {
	g.Stop()
	// The table that it has left takes memory of the kernel's.
	if err := os.RemoveAll(filepath.Join(BPF(g.t), g.instance)); err != nil {
		g.t.Errorf("remove what the gateway has pinned: %v", err)
	}
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
	b, err := os.ReadFile(g.file(name))
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

// SetRoutes puts a new file of routes in place at once. The gateway has yet to
// notice: see Reroute.
func (g *Gateway) SetRoutes(routes Routes) {
	g.t.Helper()
	var b strings.Builder
	for name, endpoints := range routes {
		fmt.Fprintf(&b, "route %q {\n  cluster = %q\n  path = %q\n}\n", name, name, g.Path)
		fmt.Fprintf(&b, "cluster %q {\n  connect_timeout = %q\n", name, g.ConnectTimeout)
		for _, e := range endpoints {
			fmt.Fprintf(&b, "  endpoint %q {}\n", e)
		}
		b.WriteString("}\n")
	}
	tmp := g.file("routes.hcl.new")
	if err := os.WriteFile(tmp, []byte(b.String()), 0o600); err != nil {
		g.t.Fatal(err)
	}
	if err := os.Rename(tmp, g.file("routes.hcl")); err != nil {
		g.t.Fatal(err)
	}
}

// Reroute gives the gateway other routes and returns when new flows go by them. At
// most one goroutine may do so at a time.
func (g *Gateway) Reroute(routes Routes) {
	g.t.Helper()
	before := g.Metric("sluice_table_version")
	g.SetRoutes(routes)
	Eventually(g.t, "the table with other routes", func() bool { return g.Metric("sluice_table_version") > before })
}
