package registration

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

// fake is an agent that can be made to fail. It has services, one maintenance mode
// each, and answers hash-based blocking queries.
type fake struct {
	*httptest.Server
	t      testing.TB
	client *api.Client

	mu       sync.Mutex
	changed  chan struct{} // closed at each change
	services map[string]*api.AgentService
	reasons  map[string]string // of maintenance
	requests []string          // method and path of each
	// fault answers in place of the agent if it returns true.
	fault func(w http.ResponseWriter, r *http.Request) bool
}

func newFake(t testing.TB) *fake {
	f := &fake{t: t, changed: make(chan struct{}), services: map[string]*api.AgentService{}, reasons: map[string]string{}}
	f.Server = httptest.NewServer(f)
	client, err := api.NewClient(&api.Config{Address: f.URL})
	must(t, err)
	f.client = client
	t.Cleanup(func() {
		f.CloseClientConnections()
		f.Close()
	})
	return f
}

// change does something to what the agent has, and wakes those who wait for that.
func (f *fake) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
	close(f.changed)
	f.changed = make(chan struct{})
}

// failing has the agent fail like that from now on; nil: no longer.
func (f *fake) failing(fault func(http.ResponseWriter, *http.Request) bool) {
	f.change(func() { f.fault = fault })
}

// count is the number of requests that began with this.
func (f *fake) count(prefix string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.requests {
		if strings.HasPrefix(r, prefix) {
			n++
		}
	}
	return n
}

func (f *fake) get(id string) *api.AgentService {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.services[id]
}

func (f *fake) reason(id string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reasons[id]
}

// has tells whether the agent has the service with the port.
func (f *fake) has(id string, port int) func() bool {
	return func() bool { s := f.get(id); return s != nil && s.Port == port }
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.requests = append(f.requests, r.Method+" "+r.URL.Path)
	fault := f.fault
	f.mu.Unlock()
	if fault != nil && fault(w, r) {
		return
	}
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	last := path[strings.LastIndex(path, "/")+1:]
	switch {
	case path == "agent/self":
		f.answer(w, map[string]any{"Config": map[string]any{"Datacenter": "dc1", "NodeName": "n1", "Version": "1.22.2", "BindAddr": "10.0.0.1"}})
	case path == "agent/services":
		f.list(w)
	case path == "agent/checks":
		f.checks(w, r.URL.Query())
	case path == "agent/service/register":
		f.register(w, r)
	case strings.HasPrefix(path, "agent/service/deregister/"):
		f.known(w, last, func() { delete(f.services, last); delete(f.reasons, last) })
	case strings.HasPrefix(path, "agent/service/maintenance/"):
		f.known(w, last, func() {
			if r.URL.Query().Get("enable") == "false" {
				delete(f.reasons, last)
			} else if f.reasons[last] == "" {
				f.reasons[last] = r.URL.Query().Get("reason")
			}
		})
	case strings.HasPrefix(path, "agent/service/"):
		f.service(w, r, last)
	default:
		http.NotFound(w, r)
	}
}

func (f *fake) answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		f.t.Log(err) // who asked is gone
	}
}

func (f *fake) list(w http.ResponseWriter) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer(w, f.services)
}

func (f *fake) checks(w http.ResponseWriter, q url.Values) {
	f.mu.Lock()
	defer f.mu.Unlock()
	found := map[string]*api.AgentCheck{}
	for id, reason := range f.reasons {
		check := "_service_maintenance:" + id
		if q.Get("filter") == "CheckID == "+strconv.Quote(check) {
			found[check] = &api.AgentCheck{CheckID: check, Notes: reason}
		}
	}
	f.answer(w, found)
}

func (f *fake) register(w http.ResponseWriter, r *http.Request) {
	var d api.AgentServiceRegistration
	if err := json.NewDecoder(r.Body).Decode(&d); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f.change(func() { f.services[d.ID] = asKept(&d) })
}

// asKept is the service that an agent makes of a definition.
func asKept(d *api.AgentServiceRegistration) *api.AgentService {
	s := &api.AgentService{
		Kind: d.Kind, ID: d.ID, Service: d.Name, Address: d.Address, Port: d.Port,
		Meta: d.Meta, TaggedAddresses: d.TaggedAddresses, Datacenter: "dc1",
		Weights: api.AgentWeights{Passing: 1, Warning: 1}, Proxy: d.Proxy,
	}
	if s.Proxy == nil {
		s.Proxy = &api.AgentServiceConnectProxyConfig{}
	}
	return s
}

func (f *fake) known(w http.ResponseWriter, id string, do func()) {
	if f.get(id) == nil {
		http.Error(w, fmt.Sprintf("Unknown service ID %q. Ensure that the service ID is passed, not the service name.", id), http.StatusNotFound)
		return
	}
	f.change(do)
}

func (f *fake) service(w http.ResponseWriter, r *http.Request, id string) {
	for {
		f.mu.Lock()
		s, changed, fault := f.services[id], f.changed, f.fault
		f.mu.Unlock()
		if fault != nil && fault(w, r) {
			return
		}
		if s == nil {
			http.Error(w, "unknown service ID: "+id, http.StatusNotFound)
			return
		}
		text, err := json.Marshal(s)
		if err != nil {
			f.t.Error(err)
		}
		hash := fmt.Sprintf("%x", text)
		if hash != r.URL.Query().Get("hash") {
			w.Header().Set("X-Consul-ContentHash", hash)
			w.Write(text)
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

// The faults.

func status(code int, body string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		http.Error(w, body, code)
		return true
	}
}

func body(text string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		io.WriteString(w, text)
		return true
	}
}

// half breaks off in the middle of its answer.
func half(w http.ResponseWriter, _ *http.Request) bool {
	w.Header().Set("Content-Length", "1000")
	io.WriteString(w, `{"ID": "mesh-gate`)
	return true
}

// hang does not answer until its client gives up.
func hang(_ http.ResponseWriter, r *http.Request) bool {
	select {
	case <-r.Context().Done():
	case <-time.After(patience):
	}
	return true
}

// drop breaks the connection.
func drop(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }

// only makes a fault one of requests that begin with this.
func only(prefix string, fault func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		return strings.HasPrefix(r.Method+" "+r.URL.Path, prefix) && fault(w, r)
	}
}
