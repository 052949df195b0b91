package consul_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"sluice/scripts/consul"
	"sluice/scripts/consul/consultest"
	"sluice/scripts/lab/labtest"
)

// TestRestart has an agent remember, across a kill, what is registered with it and
// written to its datacenter.
func TestRestart(t *testing.T) {
	labtest.NoLeaks(t)
	c := consultest.Start(t, consul.OneServer, consul.Settings{ACL: true})
	a := c.Agents[0]
	must(t, a.Register(t.Context(), consul.Service{Name: "web", Addr: addrPort(c, 20, 9001)}))
	must(t, a.WriteConfig(t.Context(), &api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: "web", Protocol: "http"}))
	if err := a.Restart(); err == nil {
		t.Error("restarted an agent that runs")
	}
	must(t, a.Kill())
	must(t, a.Kill())
	if _, err := a.Roots(t.Context()); err == nil {
		t.Error("an agent that was killed answers")
	}
	err := a.WaitHealthy(t.Context())
	if err == nil || !strings.Contains(err.Error(), "killed") || !strings.Contains(err.Error(), "agent") {
		t.Errorf("wait for an agent that was killed: %v", err)
	}
	must(t, a.Restart())
	must(t, a.WaitHealthy(t.Context()))
	must(t, a.SetCheck(t.Context(), "web", "critical"))
	entry, _, err := a.Client().ConfigEntries().Get(api.ServiceDefaults, "web", nil)
	must(t, err)
	if got := entry.(*api.ServiceConfigEntry).Protocol; got != "http" {
		t.Errorf("protocol after the restart: %q", got)
	}
	must(t, a.DeleteConfig(t.Context(), api.ServiceDefaults, "web"))
	must(t, a.DeleteConfig(t.Context(), api.ServiceDefaults, "web"))

	must(t, c.Stop())
	must(t, c.Stop())
	if _, err := os.Stat(a.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the agent's files are left: %v", err)
	}
}

// TestBadConfig wants the agent's own words when it does not start.
func TestBadConfig(t *testing.T) {
	consultest.Need(t)
	begun := time.Now()
	_, err := consul.OneServer(t.Context(), consul.Settings{HCL: `no_such_key = 1`})
	if err == nil || !strings.Contains(err.Error(), "no_such_key") {
		t.Errorf("error %v, want one that says what Consul did not like", err)
	}
	if time.Since(begun) >= consul.Patience {
		t.Error("waited for an agent that was dead")
	}
}

func TestWaitEndsWithContext(t *testing.T) {
	consultest.Need(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(time.Second, func() { cancel(errors.New("enough")) })
	// It never elects a leader, for two others that it needs.
	_, err := consul.OneServer(ctx, consul.Settings{HCL: `bootstrap_expect = 3`})
	if err == nil || !strings.Contains(err.Error(), "enough") {
		t.Errorf("error %v, want the context's cause", err)
	}
}

// TestClientAgent has an agent that is no server beside one, with TLS.
func TestClientAgent(t *testing.T) {
	c := consultest.Start(t, consul.OneServer, consul.Settings{ACL: true, TLS: true})
	server := c.Agents[0]
	client, err := c.Add(t.Context(), consul.Options{
		NoServer:  true,
		Host:      consul.Host{Addr: c.Loopback(1, 30)},
		RetryJoin: []string{server.Addr.String()},
	})
	must(t, err)
	must(t, client.WaitHealthy(t.Context()))
	must(t, client.Register(t.Context(), consul.Service{Name: "web", Addr: addrPort(c, 20, 9001)}))
	eventually(t, "the service, at the other agent", func() error {
		nodes, _, err := server.Client().Health().Service("web", "", true, nil)
		if err == nil && (len(nodes) != 1 || nodes[0].Node.Node != "cli-dc1") {
			err = fmt.Errorf("%d instances", len(nodes))
		}
		return err
	})
	for _, a := range c.Agents {
		overTLS(t, a)
	}
}

// overTLS reads from the agent over HTTPS, verified by name or address, and looks
// whether it speaks HTTP/2.
func overTLS(t *testing.T, a *consul.Agent) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.CA.Pool()}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	resp, err := client.Get("https://" + a.HTTPS() + "/v1/status/leader")
	must(t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 {
		t.Errorf("%s: %s %s over HTTPS", a.Node, resp.Proto, resp.Status)
	}
	cmd := exec.Command(a.Binary, "members")
	cmd.Env = append(append(os.Environ(), a.Env()...), "CONSUL_HTTP_TOKEN="+a.Token)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), a.Node) {
		t.Errorf("consul members by the environment of %s: %v: %s", a.Node, err, out)
	}
}

// TestDieTogether kills a process that has an agent, and wants the agent gone. The
// process is this test once more.
func TestDieTogether(t *testing.T) {
	const inner = "SLUICE_TEST_AGENT_DIR"
	if os.Getenv(inner) != "" {
		c, err := consul.OneServer(t.Context(), consul.Settings{Dir: os.Getenv(inner)})
		must(t, err)
		fmt.Printf("agent %d\n", c.Agents[0].PID())
		select {} // until killed
	}
	consultest.Need(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestDieTogether$")
	cmd.Env = append(os.Environ(), inner+"="+t.TempDir())
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	var pid int
	_, scanErr := fmt.Fscanf(out, "agent %d\n", &pid)
	must(t, cmd.Process.Kill())
	cmd.Wait()
	must(t, scanErr)
	eventually(t, "the agent to be gone", func() error {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			// Its parent is gone too: it may wait for another one to bury it.
			stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
			if err == nil && !strings.Contains(string(stat), ") Z ") {
				return fmt.Errorf("process %d is there", pid)
			}
		}
		return nil
	})
}
