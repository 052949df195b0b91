package mesh

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/scripts/consul"
	"sluice/tests/harness"
	"sluice/userspace/client"
	catalog "sluice/userspace/consul"
	"sluice/userspace/route"
	"sluice/userspace/xds"
)

// patience is how long anything may take on a busy machine before it counts as never.
const patience = harness.Patience

// pair is both sources of one gateway at work.
type pair struct {
	t            testing.TB
	xds, catalog atomic.Pointer[route.Table]
}

// watch runs both sources for a gateway that is registered with the agent.
func watch(t testing.TB, a *consul.Agent, gateway consul.MeshGateway, token string) *pair {
	t.Helper()
	p := &pair{t: t}
	log := slog.New(slog.NewTextHandler(testWriter{t}, nil)).With("dc", a.Datacenter)
	x, err := xds.New(xds.Options{
		Address: a.GRPC(), NodeID: gateway.ID, Log: log, Settle: time.Second,
		Token: func() (string, error) { return token, nil },
	})
	must(t, err)
	o := catalog.Options{
		Datacenter: a.Datacenter, Domain: "consul", Discovery: route.Logical,
		WANFederation: gateway.ExposeServers, Log: log, Settle: time.Second,
	}
	settings := client.Settings{HTTPAddr: a.HTTP(), Token: token}
	if a.CA != nil {
		settings.HTTPAddr, settings.CAFile, o.Connections = "https://"+a.HTTPS(), a.CAFile(), -1
	}
	agent, err := settings.Agent()
	must(t, err)
	o.Client = agent.API()
	c, err := catalog.New(o)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- x.Run(ctx, func(t *route.Table) { p.xds.Store(t) }) }()
	go func() { ended <- c.Run(ctx, func(t *route.Table) { p.catalog.Store(t) }) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	return p
}

// same waits until both sources have the same table, and want is in it.
func (p *pair) same(want ...string) {
	p.t.Helper()
	var x, c []string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		x, c = lines(p.xds.Load()), lines(p.catalog.Load())
		if slices.Equal(x, c) && contains(x, want) {
			return
		}
	}
	if diff := cmp.Diff(x, c); diff != "" {
		p.t.Fatalf("the table by xds (-) is not the one by catalog (+):\n%s", diff)
	}
	p.t.Fatalf("want in both tables:\n%s\nthey are:\n%s", strings.Join(want, "\n"), strings.Join(x, "\n"))
}

// contains tells whether each wanted text is in a line, or with "!" before it in none.
func contains(lines, want []string) bool {
	for _, w := range want {
		text, not := strings.CutPrefix(w, "!")
		if slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, text) }) == not {
			return false
		}
	}
	return true
}

// lines is all that a table holds, as text that can be compared.
func lines(t *route.Table) []string {
	if t == nil {
		return nil
	}
	var out []string
	for r := range t.Routes() {
		to := "> " + r.Cluster
		if r.Refuse != "" {
			to = "refused: " + r.Refuse
		}
		out = append(out, fmt.Sprintf("%s %s", r.Name, to))
	}
	for c := range t.Clusters() {
		var ends []string
		for _, e := range c.Endpoints {
			ends = append(ends, fmt.Sprintf("%s %s %d", e, e.Health, e.Weight))
		}
		slices.Sort(ends)
		out = append(out, fmt.Sprintf("%s = %s connect %v panic %d %s: %s", c.Name, c.Policy, c.ConnectTimeout, c.PanicThreshold, c.Discovery, strings.Join(ends, ", ")))
	}
	slices.Sort(out)
	return out
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// testWriter sends a log to where a failed test shows it.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSuffix(string(b), "\n"))
	return len(b), nil
}
