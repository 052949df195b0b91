package rights

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/scripts/consul"
	"sluice/tests/harness"
	"sluice/userspace/route"
	"sluice/userspace/snapshot"
)

// patience is how long anything may take on a busy machine before it counts as never.
// The agent itself takes some ten seconds to refuse a look at peerings.
const patience = 60 * time.Second

// gateway is a running "sluice gateway".
type gateway struct {
	testing.TB
	dir string
}

// start runs a gateway beside the agent with that token, to be stopped when the test
// ends.
func start(t testing.TB, a *consul.Agent, token string, flags ...string) *gateway {
	t.Helper()
	g := &gateway{t, t.TempDir()}
	log, err := os.Create(g.log())
	must(t, err)
	defer log.Close()
	cmd := exec.Command(harness.Binary(t), append([]string{"gateway", "-admin-socket", "off", "-bpf-dir", filepath.Join(g.dir, "none"), "-state-dir", g.dir, "-access-log", "off", "-drain-delay", "0s"}, flags...)...)
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "CONSUL_") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(append(cmd.Env, a.Env()...), "CONSUL_HTTP_TOKEN="+token)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the gateway's log:\n%s", g.text())
		}
	})
	return g
}

func (g *gateway) log() string { return filepath.Join(g.dir, "log") }

func (g *gateway) text() string {
	text, err := os.ReadFile(g.log())
	must(g, err)
	return string(text)
}

// says waits until the log has the text.
func (g *gateway) says(text string) {
	g.Helper()
	g.eventually(fmt.Sprintf("the log to have %q", text), func() error {
		if !strings.Contains(g.text(), text) {
			return errors.New("it is not there")
		}
		return nil
	})
}

// routes waits until the table that the gateway keeps has routes of all the names in
// has, and checks that it has none of those in lacks.
func (g *gateway) routes(has, lacks []string) {
	g.Helper()
	var t *route.Table
	g.eventually(fmt.Sprintf("routes of %v", has), func() (err error) {
		if t, _, err = snapshot.Read(filepath.Join(g.dir, "table")); err != nil {
			return err
		}
		for _, name := range has {
			if t.Route(name) == nil {
				return fmt.Errorf("%s has none of %s", t, name)
			}
		}
		return nil
	})
	for _, name := range lacks {
		if r := t.Route(name); r != nil {
			g.Errorf("the table has a route of %s, to %q", name, r.Cluster)
		}
	}
}

func (g *gateway) eventually(what string, ok func() error) {
	g.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = ok(); err == nil {
			return
		}
	}
	g.Fatalf("waited in vain for %s: %v", what, err)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestMain(m *testing.M) {
	status := m.Run()
	harness.CleanUp()
	os.Exit(status)
}
