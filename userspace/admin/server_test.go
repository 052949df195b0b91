package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/userspace/gateway"
)

var sameAddrs = cmp.Options{
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func TestStatus(t *testing.T) {
	want := Status{
		Version: "1.2.3", PID: 7, Instance: "default", State: "ready", Started: time.Unix(1, 0).UTC(), Uptime: 9.5, Kernel: "6.18",
		Table:     &Table{Version: 4, Source: "xds", Age: 1.5, Routes: 10, Clusters: 9, Connected: true, Kept: 1},
		Listeners: []netip.AddrPort{netip.MustParseAddrPort("[::]:8443")},
		Paths:     []Path{{Name: "splice", On: true}, {Name: "sockmap", Why: "no rights"}},
		Maps:      []Fill{{"ways", 2, 100}},
		Flows:     5, Begun: 8, Rates: Rates{1, 2, 3},
		Errors: []Problem{{time.Unix(2, 0).UTC(), "level=WARN msg=oops"}},
	}
	c, _ := listenFor(t, &fake{status: want})
	got, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&want, got, sameAddrs); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

func TestFlows(t *testing.T) {
	f := &fake{}
	for id := range uint64(3000) {
		f.flows = append(f.flows, someFlow(id))
	}
	f.flows[7] = Flow{ID: 7, State: "hello"}
	c, _ := listenFor(t, f)
	which := gateway.Selection{ID: 9, Route: "a&b=*.test", Source: netip.MustParsePrefix("2001:db8::/32")}
	var got []Flow
	err := c.EachFlow(t.Context(), which, Order{}, func(f *Flow) error {
		got = append(got, *f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if f.last() != which {
		t.Errorf("the agent was asked for %+v, want %+v", f.last(), which)
	}
	if diff := cmp.Diff(f.flows, got, sameAddrs); diff != "" {
		t.Errorf("flows (-want +got):\n%.2000s", diff)
	}
}

// TestFlowsBroken: that a list is not whole is told, in whichever way it ends.
func TestFlowsBroken(t *testing.T) {
	f := &fake{flows: []Flow{someFlow(1), someFlow(2)}, fail: errAgent}
	c, _ := listenFor(t, f)
	n := 0
	count := func(*Flow) error { n++; return nil }
	if err := c.EachFlow(t.Context(), gateway.Selection{}, Order{}, count); err == nil || !strings.Contains(err.Error(), errAgent.Error()) || n != 2 {
		t.Errorf("%d flows and %v, want 2 and the agent's error", n, err)
	}
	enough := errors.New("enough")
	if err := c.EachFlow(t.Context(), gateway.Selection{}, Order{}, func(*Flow) error { return enough }); err != enough {
		t.Errorf("%v, want what yield returned", err)
	}
}

// TestFlowsGivenUp: the agent stops when its client goes away.
func TestFlowsGivenUp(t *testing.T) {
	stopped := make(chan struct{})
	f := &fake{flows: []Flow{someFlow(1)}}
	f.hold = func(ctx context.Context) error {
		<-ctx.Done()
		close(stopped)
		return ctx.Err()
	}
	c, _ := listenFor(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 1)
	go func() { got <- c.EachFlow(ctx, gateway.Selection{}, Order{}, func(*Flow) error { return nil }) }()
	eventually(t, "the agent is asked", func() bool { return f.last() != nil })
	cancel()
	<-stopped
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestOrders(t *testing.T) {
	f := &fake{}
	c, _ := listenFor(t, f)
	which := gateway.Selection{Route: "web.test"}
	if n, err := c.Kill(t.Context(), which); n != 3 || err != nil || f.last() != which {
		t.Errorf("kill: %d, %v; the agent was told %v", n, err, f.last())
	}
	address := netip.MustParseAddr("2001:db8::1")
	if at, err := c.Source(t.Context(), address); err != nil || f.last() != address || at.Address != address || at.Max != 3 {
		t.Errorf("source: %+v, %v; the agent was told %v", at, err, f.last())
	}
	if at, err := c.Source(t.Context(), netip.Addr{}); err == nil {
		t.Errorf("no source: %+v", at)
	}
	for _, d := range []time.Duration{0, 90 * time.Second} {
		if err := c.Drain(t.Context(), d); err != nil || f.last() != d {
			t.Errorf("drain: %v; the agent was told %v, want %v", err, f.last(), d)
		}
	}
	for _, p := range []Policy{{Route: "*.test", Path: "splice", Credit: 100_000, MaxFlows: 7}, {Route: "web.test"}} {
		if err := c.SetPolicy(t.Context(), p); err != nil || f.last() != p {
			t.Errorf("policy: %v; the agent was told %v, want %v", err, f.last(), p)
		}
	}
	for _, p := range []Policy{{}, {Route: "Web.test"}, {Route: "web.test", Credit: 5}, {Route: "web.test", MaxFlows: -1}} {
		if err := c.SetPolicy(t.Context(), p); err == nil || f.last() == p {
			t.Errorf("policy %+v: %v; the agent was told %v", p, err, f.last())
		}
	}
	if done, err := c.Reload(t.Context()); done != "routes read again" || err != nil {
		t.Errorf("reload: %q, %v", done, err)
	}
}

func TestAgentFails(t *testing.T) {
	c, _ := listenFor(t, &fake{fail: errAgent})
	for name, ask := range map[string]func() error{
		"status": func() error { _, err := c.Status(t.Context()); return err },
		"source": func() error { _, err := c.Source(t.Context(), netip.IPv6Loopback()); return err },
		"kill":   func() error { _, err := c.Kill(t.Context(), gateway.Selection{ID: 1}); return err },
		"drain":  func() error { return c.Drain(t.Context(), 0) },
		"policy": func() error { return c.SetPolicy(t.Context(), Policy{Route: "web.test"}) },
		"reload": func() error { _, err := c.Reload(t.Context()); return err },
	} {
		if err := ask(); err == nil || err.Error() != "the agent says: "+errAgent.Error() {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// raw sends a request as it stands, and returns the answer's status and its error.
func raw(t *testing.T, socket, method, path, body string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", socket) },
	}}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://agent"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	var f failure
	_ = json.Unmarshal(b, &f)
	return answer.StatusCode, f.Error
}

func TestBadRequests(t *testing.T) {
	f := &fake{}
	_, socket := listenFor(t, f)
	for _, test := range []struct{ method, path, body, want string }{
		{"POST", "/v1/kill", `{}`, "which flows?"},
		{"POST", "/v1/kill", ``, "read the request: EOF"},
		{"POST", "/v1/kill", `{"id": -1}`, "read the request"},
		{"POST", "/v1/kill", `{"source": "10.0.0.0/99"}`, "read the request"},
		{"POST", "/v1/kill", `{"rout": "x"}`, `unknown field "rout"`},
		{"POST", "/v1/kill", `{"id": 1} {"id": 2}`, "something follows"},
		{"POST", "/v1/kill", `{"route": "` + strings.Repeat("x", largestBody) + `"}`, "too large"},
		{"POST", "/v1/drain", `{"deadline": "soon"}`, `deadline "soon"`},
		{"POST", "/v1/drain", `{"deadline": "-1s"}`, `deadline "-1s"`},
		{"GET", "/v1/flows?id=x", ``, "parameter id"},
		{"GET", "/v1/flows?source=10.0.0.1", ``, "parameter source"},
		{"GET", "/v1/flows?limit=x", ``, "parameter limit"},
		{"GET", "/v1/flows?limit=-1", ``, "negative"},
		{"GET", "/v1/flows?limit=1&sort=size", ``, `sorted by "size"`},
		{"GET", "/v1/flows?offset=1", ``, `parameter "offset"`},
	} {
		status, text := raw(t, socket, test.method, test.path, test.body)
		if status != http.StatusBadRequest || !strings.Contains(text, test.want) {
			t.Errorf("%s %s %.40s: status %d, %q; want %q", test.method, test.path, test.body, status, text, test.want)
		}
	}
	for _, path := range []string{"/", "/v1/kill", "/v2/status"} {
		if status, _ := raw(t, socket, "GET", path, ""); status == http.StatusOK {
			t.Errorf("GET %s is answered", path)
		}
	}
	if f.last() != nil {
		t.Errorf("the agent was told %v", f.last())
	}
}
