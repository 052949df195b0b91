package consul

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"sluice/userspace/route"
)

const trustDomain = "11111111-2222-3333-4444-555555555555.consul"

// soon is how long what must come may take on a busy machine.
const soon = 30 * time.Second

// fakeAgent is an agent whose answers the test makes, by path. It blocks queries as
// Consul does.
type fakeAgent struct {
	t      testing.TB
	server *httptest.Server

	mu      sync.Mutex
	changed chan struct{} // closed at each change
	index   uint64
	answers map[string]any  // to be told as JSON
	faults  map[string]bool // paths whose queries take fault
	fault   func(http.ResponseWriter, *http.Request)
	filter  bool // answers are shortened by rights
	asked   map[string]int
	waits   []string // queries that waited on an index below 1
	waiting int      // queries that wait now
	most    int      // of them at a time
}

func newFakeAgent(t testing.TB, tls bool) *fakeAgent {
	t.Helper()
	a := &fakeAgent{t: t, changed: make(chan struct{}), index: 10, answers: map[string]any{}, faults: map[string]bool{}, asked: map[string]int{}}
	a.server = httptest.NewUnstartedServer(http.HandlerFunc(a.serve))
	a.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	if tls {
		a.server.EnableHTTP2 = true
		a.server.StartTLS()
	} else {
		a.server.Start()
	}
	t.Cleanup(func() {
		a.server.CloseClientConnections()
		a.server.Close()
	})
	a.set("/v1/connect/ca/roots", map[string]any{"TrustDomain": trustDomain})
	a.set("/v1/config/service-resolver", []any{})
	a.set("/v1/config/mesh", []any{})
	a.set("/v1/catalog/datacenters", []string{"dc1"})
	a.set("/v1/exported-services", []any{})
	a.set("/v1/peerings", []any{})
	a.services(nil)
	return a
}

func (a *fakeAgent) client() *api.Client {
	a.t.Helper()
	c := api.DefaultConfig()
	c.Address, c.HttpClient = a.server.URL, a.server.Client()
	client, err := api.NewClient(c)
	if err != nil {
		a.t.Fatal(err)
	}
	return client
}

// change changes something and wakes those that wait.
func (a *fakeAgent) change(do func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	do()
	a.index++
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *fakeAgent) set(path string, answer any) { a.change(func() { a.answers[path] = answer }) }

// services has these services in the catalog, each with instances at addresses.
func (a *fakeAgent) services(all map[string][]string) {
	a.change(func() {
		names := map[string][]string{}
		for path := range a.answers {
			if strings.HasPrefix(path, "/v1/health/connect/") {
				delete(a.answers, path)
			}
		}
		for name, addrs := range all {
			names[name] = nil
			a.answers["/v1/health/connect/"+name] = instancesAt(name, addrs...)
		}
		a.answers["/v1/catalog/services"] = names
	})
}

// breaks has queries of these paths, or all, take a fault from now on.
func (a *fakeAgent) breaks(fault func(http.ResponseWriter, *http.Request), paths ...string) {
	a.change(func() {
		a.fault = fault
		a.faults = map[string]bool{}
		for _, p := range paths {
			a.faults[p] = true
		}
	})
}

func (a *fakeAgent) mends() { a.breaks(nil) }

func (a *fakeAgent) serve(w http.ResponseWriter, r *http.Request) {
	path, query := r.URL.Path, r.URL.Query()
	index, _ := strconv.ParseUint(query.Get("index"), 10, 64)
	a.mu.Lock()
	a.asked[path]++
	if query.Has("index") && index < 1 {
		a.waits = append(a.waits, path)
	}
	if index == a.index && index > 0 {
		changed := a.changed
		a.waiting++
		a.most = max(a.most, a.waiting)
		a.mu.Unlock()
		wait, _ := time.ParseDuration(query.Get("wait"))
		select {
		case <-changed:
		case <-time.After(wait):
		case <-r.Context().Done():
		}
		a.mu.Lock()
		a.waiting--
	}
	if a.fault != nil && (len(a.faults) == 0 || a.faults[path]) {
		fault := a.fault
		a.mu.Unlock()
		fault(w, r)
		return
	}
	answer, ok := a.answers[path]
	if !ok && strings.HasPrefix(path, "/v1/health/") {
		answer = []any{}
	} else if !ok {
		a.mu.Unlock()
		http.NotFound(w, r)
		return
	}
	body, err := json.Marshal(answer)
	w.Header().Set("X-Consul-Index", fmt.Sprint(a.index))
	w.Header().Set("X-Consul-KnownLeader", "true")
	w.Header().Set("X-Consul-LastContact", "0")
	if a.filter {
		w.Header().Set("X-Consul-Results-Filtered-By-ACLs", "true")
	}
	a.mu.Unlock()
	if err != nil {
		a.t.Error(err)
	}
	_, _ = w.Write(body)
}

// instancesAt are healthy instances of a service at addresses, HOST:PORT.
func instancesAt(name string, addrs ...string) []*api.ServiceEntry {
	all := []*api.ServiceEntry{}
	for i, addr := range addrs {
		host, port, _ := strings.Cut(addr, ":")
		n, _ := strconv.Atoi(port)
		all = append(all, &api.ServiceEntry{
			Node:    &api.Node{Node: "node", Address: "10.9.9.9"},
			Service: &api.AgentService{ID: fmt.Sprintf("%s-%d", name, i), Service: name, Address: host, Port: n, Weights: api.AgentWeights{Passing: 1, Warning: 1}},
			Checks:  api.HealthChecks{{CheckID: "c", Status: api.HealthPassing}},
		})
	}
	return all
}

// source is a source at work on a fake agent.
type sourceRun struct {
	*Source
	t   testing.TB
	log *logBuffer

	mu    sync.Mutex
	table *route.Table
	n     int // tables published
}

// start runs a source until the test ends. Streams settle at once and losses stay,
// unless changed.
func (a *fakeAgent) start(change func(*Source)) *sourceRun {
	a.t.Helper()
	log := new(logBuffer)
	s, err := New(Options{
		Client: a.client(), Connections: -1, Datacenter: "dc1", Domain: "consul.",
		Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		a.t.Fatal(err)
	}
	s.times.settle, s.times.hold = time.Nanosecond, time.Hour
	s.times.retry, s.times.retryMax = 10*time.Millisecond, 50*time.Millisecond
	s.times.poll, s.times.pace = 20*time.Millisecond, time.Millisecond
	if change != nil {
		change(s)
	}
	r := &sourceRun{Source: s, t: a.t, log: log}
	ended := make(chan error, 1)
	go func() {
		ended <- s.Run(a.t.Context(), func(t *route.Table) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.table, r.n = t, r.n+1
		})
	}()
	a.t.Cleanup(func() {
		if err := <-ended; err != nil {
			a.t.Error(err)
		}
		if a.t.Failed() {
			a.t.Logf("log:\n%s", log)
		}
	})
	return r
}

func (r *sourceRun) now() (*route.Table, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.table, r.n
}

// has waits until the table's clusters with endpoints are these, each
// "name=addr,addr", with the rest of a service's name left out.
func (r *sourceRun) has(want ...string) {
	r.t.Helper()
	want = slices.Sorted(slices.Values(want))
	var got []string
	eventually(r.t, fmt.Sprintf("a table with %v", want), func() bool {
		t, _ := r.now()
		got = short(t)
		return t != nil && slices.Equal(got, want)
	}, func() any { return got })
}

func short(t *route.Table) []string {
	got := []string{}
	if t == nil {
		return got
	}
	for c := range t.Clusters() {
		var ends []string
		for _, e := range c.Endpoints {
			text := e.String()
			if e.Health == route.Critical {
				text += "!"
			}
			ends = append(ends, text)
		}
		name := strings.TrimSuffix(c.Name, ".default.dc1.internal."+trustDomain)
		got = append(got, strings.TrimSuffix(name, "."+trustDomain)+"="+strings.Join(ends, ","))
	}
	slices.Sort(got)
	return got
}

// logged waits until the log has the text.
func (r *sourceRun) logged(text string) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%q in the log", text), func() bool { return strings.Contains(r.log.String(), text) }, nil)
}

func eventually(t testing.TB, what string, ok func() bool, seen func() any) {
	t.Helper()
	for end := time.Now().Add(soon); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			if seen != nil {
				what += fmt.Sprintf("; at last: %v", seen())
			}
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
