package modes_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"

	"sluice/userspace/modes"
)

// fake is an agent of which every answer may be replaced.
type fake struct {
	mutex    sync.Mutex
	answers  map[string]any // by path and, if any, "?dc=" and the datacenter
	faults   map[string]http.HandlerFunc
	asked    map[string]int
	now, top int // requests under way, and at most
	hidden   bool
}

// newFake is an agent of dc1 in which web calls db in dc2 in mode remote by
// proxy-defaults, and through one gateway.
func newFake(t *testing.T) (*fake, *api.Client) {
	t.Helper()
	web := &api.CatalogService{
		Node: "n1", Datacenter: "dc1", ServiceID: "web-sidecar-proxy", ServiceName: "web-sidecar-proxy",
		ServiceProxy: &api.AgentServiceConnectProxyConfig{
			DestinationServiceName: "web",
			MeshGateway:            gatewayMode(remote),
			Upstreams:              []api.Upstream{{DestinationName: "db", Datacenter: "dc2", LocalBindPort: 5000, MeshGateway: gatewayMode(remote)}},
		},
	}
	gateway := &api.ServiceEntry{
		Node: &api.Node{Node: "n2", Address: "192.0.2.1"},
		Service: &api.AgentService{ID: "gw", Service: "gw", Address: "10.0.0.1", Port: 8443,
			TaggedAddresses: map[string]api.ServiceAddress{"wan": {Address: "203.0.113.1", Port: 443}}},
		Checks: api.HealthChecks{{Status: api.HealthPassing}},
	}
	chain := &api.DiscoveryChainResponse{Chain: &api.CompiledDiscoveryChain{
		StartNode: "r",
		Nodes:     map[string]*api.DiscoveryGraphNode{"r": {Type: "resolver", Resolver: &api.DiscoveryResolver{Target: "t"}}},
		Targets:   map[string]*api.DiscoveryTarget{"t": {ID: "db.default.default.dc2", Service: "db", Namespace: "default", Datacenter: "dc2"}},
	}}
	f := &fake{asked: map[string]int{}, faults: map[string]http.HandlerFunc{}, answers: map[string]any{
		"/v1/catalog/services":                  map[string][]string{"web-sidecar-proxy": {}},
		"/v1/catalog/services?dc=dc2":           map[string][]string{"gw": {}},
		"/v1/catalog/service/web-sidecar-proxy": []*api.CatalogService{web},
		"/v1/catalog/connect/web":               []*api.CatalogService{web},
		"/v1/catalog/connect/nobody":            []*api.CatalogService{},
		"/v1/catalog/datacenters":               []string{"dc1", "dc2"},
		"/v1/config/proxy-defaults/global":      &api.ProxyConfigEntry{Kind: api.ProxyDefaults, Name: "global", MeshGateway: gatewayMode(remote)},
		"/v1/config/service-defaults":           []api.ConfigEntry{},
		"/v1/peerings":                          []*api.Peering{},
		"/v1/discovery-chain/db":                chain,
		"/v1/health/service/gw?dc=dc2":          []*api.ServiceEntry{gateway},
	}}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	client, err := api.NewClient(&api.Config{Address: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return f, client
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.URL.Path
	if dc := r.URL.Query().Get("dc"); dc != "" {
		key += "?dc=" + dc
	}
	f.mutex.Lock()
	f.asked[key]++
	f.now++
	f.top = max(f.top, f.now)
	fault, answer, hidden := f.faults[key], f.answers[key], f.hidden
	f.mutex.Unlock()
	defer func() {
		f.mutex.Lock()
		f.now--
		f.mutex.Unlock()
	}()
	switch {
	case fault != nil:
		fault(w, r)
	case answer == nil:
		http.Error(w, "no such thing", http.StatusNotFound)
	default:
		w.Header().Set("X-Consul-LastContact", "0")
		w.Header().Set("X-Consul-Results-Filtered-By-ACLs", fmt.Sprint(hidden))
		json.NewEncoder(w).Encode(answer)
	}
}

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, body, code) }
}

func read(t *testing.T, client *api.Client, service string) (*modes.Report, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	return modes.Read(ctx, client, service)
}

const good = "web -> db in dc2 | db in dc2 | remote | proxy-defaults global: MeshGateway | remote gateways"

func TestRead(t *testing.T) {
	for _, service := range []string{"", "web"} {
		f, client := newFake(t)
		report, err := read(t, client, service)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{good}, lines(report)); diff != "" {
			t.Error(diff)
		}
		if len(report.Warnings) > 0 {
			t.Errorf("warnings %q", report.Warnings)
		}
		if got := report.Upstreams[0].Ways[0].Addresses; !cmp.Equal(got, []string{"203.0.113.1:443"}) {
			t.Errorf("addresses %v", got)
		}
		for key, times := range f.asked {
			if times > 1 {
				t.Errorf("%s was asked for %d times", key, times)
			}
		}
	}
}

// TestFaults has every kind of bad answer in every place: each must be an error that
// says what was read, or a warning, and never a report as if nothing had been.
func TestFaults(t *testing.T) {
	half := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `[{"ServiceName": "we`) }
	html := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `<html>proxy</html>`) }
	faults := map[string]http.HandlerFunc{
		"refused": status(http.StatusForbidden, "Permission denied"),
		"broken":  status(http.StatusInternalServerError, "rpc error: No cluster leader"),
		"half":    half,
		"html":    html,
	}
	for key, c := range map[string]struct{ what, right string }{
		"/v1/catalog/services":                  {"the services", "service:read"},
		"/v1/catalog/service/web-sidecar-proxy": {"sidecars named web-sidecar-proxy", "service:read on web-sidecar-proxy"},
		"/v1/catalog/datacenters":               {"the names of datacenters", "a valid secret"},
		"/v1/config/proxy-defaults/global":      {"proxy-defaults", "a valid secret"},
		"/v1/config/service-defaults":           {"service-defaults", "service:read"},
		"/v1/discovery-chain/db":                {"the discovery chain of db", "service:read on db"},
	} {
		for name, fault := range faults {
			t.Run(name+" "+key, func(t *testing.T) {
				f, client := newFake(t)
				f.faults[key] = fault
				_, err := read(t, client, "")
				if err == nil || !strings.HasPrefix(err.Error(), "read "+c.what+": ") {
					t.Fatalf("error %v, want one about %s", err, c.what)
				}
				if lacks := "the token lacks " + c.right + ":"; strings.Contains(err.Error(), lacks) != (name == "refused") {
					t.Errorf("error %v", err)
				}
			})
		}
	}
}

// TestOtherDatacenterFails: the modes can be told nevertheless.
func TestOtherDatacenterFails(t *testing.T) {
	for _, key := range []string{"/v1/catalog/services?dc=dc2", "/v1/health/service/gw?dc=dc2"} {
		f, client := newFake(t)
		f.faults[key] = status(http.StatusInternalServerError, "No path to datacenter")
		report, err := read(t, client, "")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{good}, lines(report)); diff != "" {
			t.Error(diff)
		}
		if len(report.Warnings) != 1 || !strings.Contains(report.Warnings[0], "where it goes in dc2 is not known") {
			t.Errorf("warnings %q", report.Warnings)
		}
		f.faults[key] = status(http.StatusForbidden, "Permission denied")
		if _, err := read(t, client, ""); err == nil || !strings.Contains(err.Error(), "the token lacks service:read") {
			t.Errorf("error %v, want one about the token", err)
		}
	}
}

func TestPeersUnknown(t *testing.T) {
	for _, c := range []struct {
		fault http.HandlerFunc
		want  []string
	}{
		{status(http.StatusForbidden, "Permission denied"), []string{"peers are not known, the token lacks peering:read or there is no leader: whether one is named like a datacenter, and what transparent sidecars call there, is not told"}},
		{status(http.StatusInternalServerError, "peering must be enabled to use this endpoint"), []string{}},
		{status(http.StatusInternalServerError, "oh"), []string{"peers are not known: Unexpected response code: 500 (oh)"}},
	} {
		f, client := newFake(t)
		f.faults["/v1/peerings"] = c.fault
		report, err := read(t, client, "")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, report.Warnings); diff != "" {
			t.Error(diff)
		}
	}
}

func TestNamesNotUnique(t *testing.T) {
	f, client := newFake(t)
	f.answers["/v1/catalog/datacenters"] = []string{"dc1", "dc2", "DC2"}
	f.answers["/v1/peerings"] = []*api.Peering{
		{Name: "dc1", State: api.PeeringStateActive},
		{Name: "fine", State: api.PeeringStateActive, Remote: api.PeeringRemoteInfo{Datacenter: "dc1"}},
		{Name: "better", State: api.PeeringStateActive, Remote: api.PeeringRemoteInfo{Datacenter: "dc9"}},
	}
	report, err := read(t, client, "")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"datacenters dc2 and DC2 differ by case alone: their names are not unique",
		"peer dc1 is named like datacenter dc1: its name is not unique",
		"the datacenter of peer fine is called dc1, like one of this federation: its name is not unique",
	}
	if diff := cmp.Diff(want, report.Warnings); diff != "" {
		t.Error(diff)
	}
}

func TestNothingToTell(t *testing.T) {
	f, client := newFake(t)
	if _, err := read(t, client, "nobody"); err == nil || !strings.Contains(err.Error(), `service "nobody" has no sidecar`) {
		t.Errorf("error %v", err)
	}
	f.answers["/v1/catalog/services"] = map[string][]string{}
	f.hidden = true
	report, err := read(t, client, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Upstreams) != 0 || len(report.Warnings) != 2 ||
		!strings.Contains(report.Warnings[0], "held back") || !strings.Contains(report.Warnings[1], "no sidecars") {
		t.Errorf("%+v", report)
	}
}

func TestDeadline(t *testing.T) {
	f, client := newFake(t)
	f.faults["/v1/discovery-chain/db"] = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := modes.Read(ctx, client, "")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

// TestMany: a few requests at a time, and one per name however many call it.
func TestMany(t *testing.T) {
	f, client := newFake(t)
	names := map[string][]string{}
	for i := range 300 {
		name := fmt.Sprintf("s%03d", i)
		names[name] = nil
		var list []*api.CatalogService
		for j := range 3 {
			list = append(list, &api.CatalogService{
				Node: fmt.Sprint("n", j), Datacenter: "dc1", ServiceID: name,
				ServiceProxy: &api.AgentServiceConnectProxyConfig{
					DestinationServiceName: "web-" + name,
					Upstreams:              []api.Upstream{{DestinationName: "db", Datacenter: "dc2", LocalBindPort: 5000, MeshGateway: gatewayMode(remote)}},
				},
			})
		}
		f.answers["/v1/catalog/service/"+name] = list
	}
	f.answers["/v1/catalog/services"] = names
	report, err := read(t, client, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Upstreams) != 300 || len(report.Upstreams[0].Sidecars) != 3 {
		t.Errorf("%d upstreams, the first of %v", len(report.Upstreams), report.Upstreams[0].Sidecars)
	}
	if f.top > 8 {
		t.Errorf("%d requests at a time", f.top)
	}
	for key, times := range f.asked {
		if times > 1 {
			t.Errorf("%s was asked for %d times", key, times)
		}
	}
}
