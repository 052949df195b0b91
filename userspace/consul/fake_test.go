package consul

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"sluice/userspace/client"
)

const trustDomain = "11111111-2222-3333-4444-555555555555.consul"

// fakeAgent is an agent whose answers the test makes. It blocks queries as Consul does,
// each until its own answer changes.
type fakeAgent struct {
	t      testing.TB
	server *httptest.Server

	mu      sync.Mutex
	changed chan struct{} // closed at each change
	index   uint64
	pages   map[string]page // by path, and "?dc=" or "?peer=" where one is asked for
	faults  map[string]bool // pages whose queries take fault; empty: all
	fault   http.HandlerFunc
	filter  bool                // answers are shortened by rights
	asked   map[string][]string // indexes that were asked for, by page; "" for none
	waiting int                 // queries that wait now
	most    int                 // of them at a time
	conns   map[net.Conn]bool
	dialed  int // connections there ever were
}

// page is an answer and the index of its last change.
type page struct {
	body  string
	index uint64
}

func newFakeAgent(t testing.TB, tls bool) *fakeAgent {
	t.Helper()
	a := &fakeAgent{
		t: t, changed: make(chan struct{}), index: 10, pages: map[string]page{},
		asked: map[string][]string{}, conns: map[net.Conn]bool{},
	}
	a.server = httptest.NewUnstartedServer(http.HandlerFunc(a.serve))
	a.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	a.server.Config.ConnState = a.connState
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
	a.set("/v1/internal/federation-states/mesh-gateways", map[string]any{})
	a.services(nil)
	return a
}

// client is the one that the gateway uses.
func (a *fakeAgent) client() *api.Client {
	a.t.Helper()
	settings := client.Settings{HTTPAddr: a.server.URL}
	if cert := a.server.Certificate(); cert != nil {
		settings.CAFile = filepath.Join(a.t.TempDir(), "ca.pem")
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
		if err := os.WriteFile(settings.CAFile, text, 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	agent, err := settings.Agent()
	if err != nil {
		a.t.Fatal(err)
	}
	return agent.API()
}

// change changes something and wakes those that wait.
func (a *fakeAgent) change(do func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.index++
	do()
	close(a.changed)
	a.changed = make(chan struct{})
}

// put sets a page if it is another one, within a change.
func (a *fakeAgent) put(key string, answer any) {
	body, err := json.Marshal(answer)
	if err != nil {
		a.t.Error(err)
	}
	if a.pages[key].body != string(body) {
		a.pages[key] = page{string(body), a.index}
	}
}

func (a *fakeAgent) set(key string, answer any) { a.change(func() { a.put(key, answer) }) }

const connectPath = "/v1/health/connect/"

// services has these services in the catalog, each with instances at addresses.
func (a *fakeAgent) services(all map[string][]string) { a.change(func() { a.putServices(all) }) }

func (a *fakeAgent) putServices(all map[string][]string) {
	names := map[string][]string{}
	for key := range a.pages {
		name, is := strings.CutPrefix(key, connectPath)
		if _, stays := all[name]; is && !stays && !strings.Contains(key, "?") {
			a.put(key, []any{})
		}
	}
	for name, addrs := range all {
		names[name] = nil
		a.put(connectPath+name, instancesAt(name, addrs...))
	}
	a.put("/v1/catalog/services", names)
}

// restored has the servers begin anew, with these services.
func (a *fakeAgent) restored(all map[string][]string) {
	a.change(func() {
		a.index = 2
		for key, p := range a.pages {
			a.pages[key] = page{p.body, 1}
		}
		a.putServices(all)
	})
}

// breaks has queries of these pages, or all, take a fault from now on.
func (a *fakeAgent) breaks(fault http.HandlerFunc, keys ...string) {
	a.change(func() {
		a.fault, a.faults = fault, map[string]bool{}
		for _, k := range keys {
			a.faults[k] = true
		}
	})
}

func (a *fakeAgent) mends() { a.breaks(nil) }

func (a *fakeAgent) connState(c net.Conn, s http.ConnState) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch s {
	case http.StateNew:
		a.conns[c] = true
		a.dialed++
	case http.StateClosed, http.StateHijacked:
		delete(a.conns, c)
	}
}

func (a *fakeAgent) serve(w http.ResponseWriter, r *http.Request) {
	key, query := r.URL.Path, r.URL.Query()
	for _, part := range []string{"dc", "peer"} {
		if query.Has(part) {
			key += "?" + part + "=" + query.Get(part)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked[key] = append(a.asked[key], query.Get("index"))
	index, _ := strconv.ParseUint(query.Get("index"), 10, 64)
	a.wait(r, key, index)
	if a.fault != nil && (len(a.faults) == 0 || a.faults[key]) {
		fault := a.fault
		a.mu.Unlock()
		defer a.mu.Lock() // also when the fault is a panic
		fault(w, r)
		return
	}
	p, known := a.pages[key]
	if !known && strings.HasPrefix(key, "/v1/health/") {
		p = page{"[]", a.index}
	} else if !known {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("X-Consul-Index", fmt.Sprint(p.index))
	w.Header().Set("X-Consul-KnownLeader", "true")
	w.Header().Set("X-Consul-LastContact", "0")
	if a.filter {
		w.Header().Set("X-Consul-Results-Filtered-By-ACLs", "true")
	}
	_, _ = io.WriteString(w, p.body)
}

// wait blocks a query, as Consul does, while its page is as it was at the index.
func (a *fakeAgent) wait(r *http.Request, key string, index uint64) {
	a.waiting++
	a.most = max(a.most, a.waiting)
	defer func() { a.waiting-- }()
	wait, _ := time.ParseDuration(r.URL.Query().Get("wait"))
	for end := time.After(wait); index > 0 && a.pages[key].index == index; {
		if a.fault != nil && (len(a.faults) == 0 || a.faults[key]) {
			return
		}
		changed, over := a.changed, false
		a.mu.Unlock()
		select {
		case <-changed:
		case <-end:
			over = true
		case <-r.Context().Done():
			over = true
		}
		a.mu.Lock()
		if over {
			return
		}
	}
}

// sees tells something of the agent while it is at rest.
func (a *fakeAgent) sees(look func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	look()
}

// indexes are those that a page was asked for with, "" for none.
func (a *fakeAgent) indexes(key string) (all []string) {
	a.sees(func() { all = slices.Clone(a.asked[key]) })
	return all
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

// manyServices are n services of one instance each, and what the table says of them.
func manyServices(n int) (all map[string][]string, want []string) {
	all = map[string][]string{}
	for i := range n {
		name, addr := fmt.Sprintf("s%d", i), fmt.Sprintf("10.1.%d.%d:80", i/250, i%250+1)
		all[name] = []string{addr}
		want = append(want, name+"="+addr)
	}
	return all, want
}
