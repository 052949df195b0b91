package mesh

import (
	"bufio"
	"context"
	"crypto/tls"
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
	g.flags = append([]string{"gateway", "-access-log", g.file("access.log"), "-log-format", "json",
		"-state-dir", g.dir, "-drain-delay", "100ms"}, flags...)
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

// echo is a plain service that sends back what it is sent, with its name before it.
func echo(t testing.TB, name string, at netip.AddrPort) {
	t.Helper()
	l, err := net.Listen("tcp", at.String())
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				fmt.Fprintf(c, "%s\n", name)
				_, _ = io.Copy(c, c)
			}()
		}
	}()
}

// call opens a connection of the mesh's mutual TLS by way of a gateway, and says who
// answered.
func call(ctx context.Context, via string, config *tls.Config) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", via)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	must := conn.SetDeadline(deadline)
	if must != nil {
		return "", must
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line), err
}

// answers waits until a call is answered by the service named.
func answers(t testing.TB, via string, config *tls.Config, want string) {
	t.Helper()
	eventually(t, "an answer of "+want+" by way of "+via, func() error {
		got, err := call(t.Context(), via, config)
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("%q answered", got)
		}
		return nil
	})
}
