package mesh

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/scripts/consul"
	"sluice/tests/harness"
)

// gateway is a running "sluice gateway".
type gateway struct {
	t       testing.TB
	dir     string
	addr    string // host:port where it takes the mesh's connections, if it registered itself there
	metrics string // host:port
	cmd     *exec.Cmd
	ended   chan error
	flags   []string
	env     []string
}

// startGateway runs a gateway beside the agent and does not wait for it. Its flags are
// those given besides what has the test see inside.
func startGateway(t testing.TB, a *consul.Agent, token string, flags ...string) *gateway {
	t.Helper()
	g := &gateway{t: t, dir: t.TempDir()}
	g.env = append(slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "CONSUL_") }), a.Env()...)
	if token != "" {
		g.env = append(g.env, "CONSUL_HTTP_TOKEN="+token)
	}
	g.flags = append([]string{"gateway", "-admin-socket", "off", "-bpf-dir", g.file("none"), "-access-log", g.file("access.log"), "-log-format", "json",
		"-state-dir", g.dir, "-drain-delay", "100ms", "-drain-timeout", "1s"}, flags...)
	g.start()
	t.Cleanup(func() {
		g.stop()
		if t.Failed() {
			log, _ := os.ReadFile(g.file("sluice.log"))
			t.Logf("the log of the gateway at %s:\n%s", a.Datacenter, log)
		}
	})
	return g
}

// startOwn is startGateway for one that registers itself, as an instance of "gw" at a
// host of the cluster's own in a datacenter.
func startOwn(t testing.TB, c *consul.Cluster, a *consul.Agent, datacenter, host int, token string, flags ...string) *gateway {
	t.Helper()
	addr := netip.AddrPortFrom(c.Loopback(datacenter, host), 8443).String()
	g := startGateway(t, a, token, append([]string{"-register", "-service", "gw", "-proxy-id", fmt.Sprintf("gw%d", host),
		"-address", addr, "-wan-address", addr}, flags...)...)
	g.addr = addr
	return g
}

// bothSources runs a gateway for each source in the first datacenter, beside the
// agent, and waits until they serve.
func bothSources(t testing.TB, c *consul.Cluster, a *consul.Agent, token string, flags ...string) map[string]*gateway {
	t.Helper()
	both := map[string]*gateway{}
	for i, source := range []string{"xds", "catalog"} {
		both[source] = startOwn(t, c, a, 1, 10+i, token, append([]string{"-source", source}, flags...)...)
	}
	for _, g := range both {
		g.ready()
	}
	return both
}

func (g *gateway) file(name string) string { return filepath.Join(g.dir, name) }

// start starts it, for the first time or again.
func (g *gateway) start() {
	g.t.Helper()
	log, err := os.OpenFile(g.file("sluice.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(g.t, err)
	defer log.Close()
	g.metrics = freeAddr(g.t)
	g.cmd = exec.Command(harness.Binary(g.t), append(slices.Clone(g.flags), "-metrics-bind", g.metrics)...)
	g.cmd.Env, g.cmd.Stdout, g.cmd.Stderr = g.env, log, log
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(g.t, g.cmd.Start())
	cmd, ended := g.cmd, make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	g.ended = ended
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// stop has it drain and end, if it runs.
func (g *gateway) stop() {
	g.t.Helper()
	if g.cmd.ProcessState != nil {
		return
	}
	_ = g.cmd.Process.Signal(syscall.SIGTERM)
	g.wait()
}

func (g *gateway) wait() {
	g.t.Helper()
	select {
	case err := <-g.ended:
		if err != nil {
			g.t.Errorf("the gateway ended with %v", err)
		}
	case <-time.After(patience):
		_ = g.cmd.Process.Kill()
		<-g.ended
		g.t.Error("the gateway did not end when told to")
	}
}

// kill ends it at once.
func (g *gateway) kill() {
	g.t.Helper()
	must(g.t, g.cmd.Process.Kill())
	<-g.ended
}

// ready waits until it serves.
func (g *gateway) ready() *gateway {
	g.t.Helper()
	eventually(g.t, "the gateway to be ready", func() error {
		resp, err := http.Get("http://" + g.metrics + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", resp.Status, body)
		}
		return nil
	})
	return g
}

// metric is the value of a series, written as /metrics has it.
func (g *gateway) metric(series string) float64 {
	g.t.Helper()
	resp, err := http.Get("http://" + g.metrics + "/metrics")
	must(g.t, err)
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), series+" "); ok {
			v, err := strconv.ParseFloat(text, 64)
			must(g.t, err)
			return v
		}
	}
	g.t.Fatalf("no series %s", series)
	return 0
}

// measures waits until a series has the value.
func (g *gateway) measures(series string, want float64) {
	g.t.Helper()
	eventually(g.t, fmt.Sprintf("%s to be %v", series, want), func() error {
		if got := g.metric(series); got != want {
			return fmt.Errorf("it is %v", got)
		}
		return nil
	})
}

// logged waits until its log has the text.
func (g *gateway) logged(text string) {
	g.t.Helper()
	eventually(g.t, fmt.Sprintf("%q in the gateway's log", text), func() error {
		log, err := os.ReadFile(g.file("sluice.log"))
		if err != nil {
			return err
		}
		if !strings.Contains(string(log), text) {
			return errors.New("it is not there")
		}
		return nil
	})
}

// record is a line of the access log.
type record struct {
	SNI, Route, Cluster, Endpoint, Path, Reason, Detail string
}

// records are the flows that have ended.
func (g *gateway) records() []record {
	g.t.Helper()
	text, err := os.ReadFile(g.file("access.log"))
	must(g.t, err)
	var all []record
	for line := range strings.Lines(string(text)) {
		var r record
		if strings.HasSuffix(line, "\n") {
			must(g.t, json.Unmarshal([]byte(line), &r))
			all = append(all, r)
		}
	}
	return all
}

// eventually waits until ok has no error.
func eventually(t testing.TB, what string, ok func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = ok(); err == nil {
			return
		}
	}
	t.Fatalf("waited in vain for %s: %v", what, err)
}

// logged checks that the gateway had a flow like that.
func logged(t testing.TB, g *gateway, like func(record) bool) {
	t.Helper()
	if all := g.records(); !slices.ContainsFunc(all, like) {
		t.Errorf("no such flow is logged, among %d", len(all))
	}
}
