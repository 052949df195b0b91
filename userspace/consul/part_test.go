package consul

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"

	"sluice/userspace/route"
)

// viewOf is a view of facts that a test gives, of gateway options that it changes.
func viewOf(change func(*Options)) (*view, *logBuffer) {
	log := new(logBuffer)
	o := Options{Datacenter: "dc1", Domain: "consul.", Timeout: DefaultConnectTimeout, Log: slog.New(slog.NewTextHandler(log, nil))}
	if change != nil {
		change(&o)
	}
	v := newView(&Source{Options: o, times: o.timing()})
	v.take(fact{kind: aboutRoots}, "td.consul")
	return v, log
}

// made are the parts as text, a line for each route and cluster.
func (v *view) text(parts ...part) []string {
	var out []string
	for _, p := range parts {
		made := v.make(p)
		for _, r := range made.routes {
			to := "> " + r.Cluster
			if r.Refuse != "" {
				to = "refused"
			}
			out = append(out, r.Name+" "+to)
		}
		for _, c := range made.clusters {
			ends := []string{}
			for _, e := range c.Endpoints {
				ends = append(ends, fmt.Sprintf("%s %s %d", e, e.Health, max(1, e.Weight)))
			}
			slices.Sort(ends)
			text := c.Name + " = " + strings.Join(ends, ", ")
			if c.Policy != route.RoundRobin || c.ConnectTimeout != DefaultConnectTimeout {
				text += fmt.Sprintf(" (%s, %v)", c.Policy, c.ConnectTimeout)
			}
			out = append(out, text)
		}
	}
	slices.Sort(out)
	return out
}

func expect(t *testing.T, v *view, p part, want ...string) {
	t.Helper()
	slices.Sort(want)
	if diff := cmp.Diff(want, v.text(p)); diff != "" {
		t.Error(diff)
	}
}

// instance is one at an address, changed as the test wants it.
func instance(addr string, change func(*api.ServiceEntry)) *api.ServiceEntry {
	i := instancesAt("web", addr)[0]
	if change != nil {
		change(i)
	}
	return sound([]*api.ServiceEntry{i})[0]
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		partition, namespace string
		service, subset      string
		export               string
	}{
		{"", "", "web.default.dc1.internal.td.consul", "v1.web.default.dc1.internal.td.consul", "web.default.default.peer.external.td.consul"},
		{"default", "team", "web.team.dc1.internal.td.consul", "v1.web.team.dc1.internal.td.consul", "web.team.default.peer.external.td.consul"},
		{"part", "team", "web.team.part.dc1.internal-v1.td.consul", "v1.web.team.part.dc1.internal-v1.td.consul", "web.team.part.peer.external.td.consul"},
	} {
		v, _ := viewOf(func(o *Options) { o.Partition = c.partition })
		got := []string{v.serviceName("", "web", c.namespace), v.serviceName("v1", "web", c.namespace), v.exportName("web", c.namespace, "peer")}
		if diff := cmp.Diff([]string{c.service, c.subset, c.export}, got); diff != "" {
			t.Error(diff)
		}
	}
	v, _ := viewOf(nil)
	got := []string{v.gatewayName("dc2"), v.serverName("", "dc2"), v.serverName("n1", "dc1"), v.peeringName()}
	want := []string{"dc2.internal.td.consul", "server.dc2.consul", "n1.server.dc1.consul", "server.dc1.peering.td.consul"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAddress(t *testing.T) {
	tagged := map[string]api.ServiceAddress{"wan": {Address: "198.51.100.1", Port: 443}}
	for _, c := range []struct {
		name     string
		change   func(*api.ServiceEntry)
		lan, wan string
	}{
		{"its own", nil, "10.0.0.1:80", "10.0.0.1:80"},
		{"tagged", func(i *api.ServiceEntry) { i.Service.TaggedAddresses = tagged }, "10.0.0.1:80", "198.51.100.1:443"},
		{"tagged without a port", func(i *api.ServiceEntry) {
			i.Service.TaggedAddresses = map[string]api.ServiceAddress{"wan": {Address: "gw.example"}}
		}, "10.0.0.1:80", "gw.example:80"},
		{"the node's", func(i *api.ServiceEntry) { i.Service.Address = "" }, "10.9.9.9:80", "10.9.9.9:80"},
		{"the node's, tagged", func(i *api.ServiceEntry) {
			i.Service.Address, i.Node.TaggedAddresses = "", map[string]string{"wan": "203.0.113.1"}
		}, "10.9.9.9:80", "203.0.113.1:80"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for wan, want := range map[bool]string{false: c.lan, true: c.wan} {
				host, port := address(instance("10.0.0.1:80", c.change), wan)
				if got := fmt.Sprintf("%s:%d", host, port); got != want {
					t.Errorf("wan %v: %s, want %s", wan, got, want)
				}
			}
		})
	}
}

func TestJudge(t *testing.T) {
	checks := func(all ...string) func(*api.ServiceEntry) {
		return func(i *api.ServiceEntry) {
			i.Service.Weights = api.AgentWeights{Passing: 10, Warning: 3}
			i.Checks = nil
			for _, s := range all {
				i.Checks = append(i.Checks, &api.HealthCheck{Status: s})
			}
		}
	}
	weights := func(passing, warning int) func(*api.ServiceEntry) {
		return func(i *api.ServiceEntry) {
			i.Service.Weights = api.AgentWeights{Passing: passing, Warning: warning}
			i.Checks = api.HealthChecks{{Status: "warning"}}
		}
	}
	for _, c := range []struct {
		name        string
		change      func(*api.ServiceEntry)
		onlyPassing bool
		weight      int
		health      route.Health
	}{
		{"passing", checks("passing"), false, 10, route.Passing},
		{"no check", checks(), false, 10, route.Passing},
		{"warning", checks("passing", "warning"), false, 3, route.Passing},
		{"warning, only passing", checks("passing", "warning"), true, 3, route.Critical},
		{"critical", checks("passing", "critical"), false, 10, route.Critical},
		{"maintenance", checks("maintenance"), true, 10, route.Critical},
		{"no weights", weights(0, 0), false, 1, route.Passing},
		{"weight of nothing", weights(5, 0), false, 1, route.Critical},
		{"too much weight", weights(5, 500), false, route.MaxWeight, route.Passing},
	} {
		t.Run(c.name, func(t *testing.T) {
			weight, health := judge(instance("10.0.0.1:80", c.change), c.onlyPassing)
			if weight != c.weight || health != c.health {
				t.Errorf("weight %d, %s; want %d, %s", weight, health, c.weight, c.health)
			}
		})
	}
}

func TestEndpoints(t *testing.T) {
	all := []*api.ServiceEntry{
		instance("10.0.0.1:80", nil),
		instance("10.0.0.1:80", func(i *api.ServiceEntry) { i.Service.Weights.Passing = 7 }), // shares a sidecar
		instance("gw.example:443", nil),
		instance("[2001:db8::1]:80", func(i *api.ServiceEntry) { i.Service.Address, i.Service.Port = "2001:db8::1", 80 }),
		instance("10.0.0.2:0", nil), // has no port
	}
	got, err := endpoints(all, false, false)
	if err == nil || !strings.Contains(err.Error(), "port 0") {
		t.Errorf("error %v", err)
	}
	var text []string
	for _, e := range got {
		text = append(text, fmt.Sprintf("%s %d", e, e.Weight))
	}
	slices.Sort(text)
	if diff := cmp.Diff([]string{"10.0.0.1:80 7", "[2001:db8::1]:80 1", "gw.example:443 1"}, text); diff != "" {
		t.Error(diff)
	}
}

func TestSubset(t *testing.T) {
	all := []*api.ServiceEntry{
		instance("10.0.0.1:80", func(i *api.ServiceEntry) {
			i.Service.Meta = map[string]string{"version": "1"}
			i.Service.Tags = []string{"x"}
		}),
		instance("10.0.0.2:80", nil),
	}
	for _, c := range []struct {
		filter string
		want   int
		bad    bool
	}{
		{"", 2, false},
		{`Service.Meta.version == 1`, 1, false},
		{`"x" in Service.Tags`, 1, false},
		{`Service.Meta.version != 1`, 1, false},
		{`Node.Node == node and Service.Port == 80`, 2, false},
		{`Service.Proxy.DestinationServiceName == ""`, 2, false},
		{`Service.Proxy.TransparentProxy.OutboundListenerPort == 1`, 0, true}, // at a nil pointer
		{`Service.Nothing == 1`, 0, true},
		{`Service.Port ==`, 0, true},
	} {
		got, err := subset(c.filter, all)
		if len(got) != c.want || (err != nil) != c.bad {
			t.Errorf("%q: %d instances, error %v; want %d", c.filter, len(got), err, c.want)
		}
	}
}

func TestService(t *testing.T) {
	v, log := viewOf(nil)
	version := func(n string) func(*api.ServiceEntry) {
		return func(i *api.ServiceEntry) { i.Service.Meta = map[string]string{"v": n} }
	}
	v.take(fact{aboutInstances, "Web", ""}, []*api.ServiceEntry{instance("10.0.0.1:80", version("1")), instance("10.0.0.2:80", version("2"))})
	web := part{servicePart, "Web", ""}
	const name = "Web.default.dc1.internal.td.consul"
	low := strings.ToLower(name)
	expect(t, v, web, low+" > "+name, name+" = 10.0.0.1:80 passing 1, 10.0.0.2:80 passing 1")

	v.take(fact{kind: aboutResolvers}, map[string]*api.ServiceResolverConfigEntry{"Web": {
		DefaultSubset: "two", ConnectTimeout: time.Second, LoadBalancer: &api.LoadBalancer{Policy: "least_request"},
		Subsets: map[string]api.ServiceResolverSubset{"two": {Filter: "Service.Meta.v == 2"}, "bad": {Filter: "Service.Meta.v =="}},
	}})
	expect(t, v, web,
		low+" > "+name, name+" = 10.0.0.2:80 passing 1 (least_request, 1s)",
		"two."+low+" > two."+name, "two."+name+" = 10.0.0.2:80 passing 1 (least_request, 1s)",
		"bad."+low+" > bad."+name, "bad."+name+" =  (least_request, 1s)")
	if !strings.Contains(log.String(), "filter cannot be used") {
		t.Errorf("log:\n%s", log)
	}

	v.take(fact{kind: aboutResolvers}, map[string]*api.ServiceResolverConfigEntry{"Web": {
		DefaultSubset: "absent", Redirect: &api.ServiceResolverRedirect{Service: "other"}, LoadBalancer: &api.LoadBalancer{Policy: "maglev"},
	}})
	expect(t, v, web, low+" > "+name, name+" = 10.0.0.1:80 passing 1, 10.0.0.2:80 passing 1")
	expect(t, v, part{servicePart, "nobody", ""})
}

// chainOf is a discovery chain that leads to the service alone.
func chainOf(service, protocol string) *api.CompiledDiscoveryChain {
	name := service + ".default.dc1.internal.td.consul"
	return &api.CompiledDiscoveryChain{
		ServiceName: service, Protocol: protocol, StartNode: "resolver",
		Nodes: map[string]*api.DiscoveryGraphNode{"resolver": {
			Type: api.DiscoveryGraphNodeTypeResolver, Resolver: &api.DiscoveryResolver{ConnectTimeout: 2 * time.Second, Target: "t"},
			LoadBalancer: &api.LoadBalancer{Policy: "ring_hash"},
		}},
		Targets: map[string]*api.DiscoveryTarget{"t": {ID: "t", Service: service, Datacenter: "dc1", Name: name}},
	}
}

func TestExported(t *testing.T) {
	v, _ := viewOf(nil)
	v.take(fact{aboutInstances, "web", ""}, []*api.ServiceEntry{instance("10.0.0.1:80", nil)})
	v.take(fact{kind: aboutExports}, map[string][]export{"web": {{peers: []string{"p1", "p2"}}}})
	web := part{exportedPart, "web", ""}
	const cluster = "exported~web.default.dc1.internal.td.consul"
	expect(t, v, web) // its chain is not known
	v.take(fact{aboutChain, "web", ""}, chainOf("web", "tcp"))
	expect(t, v, web, "web.default.default.p1.external.td.consul > "+cluster, "web.default.default.p2.external.td.consul > "+cluster,
		cluster+" = 10.0.0.1:80 passing 1 (random, 2s)")
	if c := v.make(web).clusters[0]; c.PanicThreshold != route.NoPanic {
		t.Errorf("panic threshold %d", c.PanicThreshold)
	}
	for _, protocol := range []string{"http", "http2", "grpc"} {
		v.take(fact{aboutChain, "web", ""}, chainOf("web", protocol))
		expect(t, v, web, "web.default.default.p1.external.td.consul refused", "web.default.default.p2.external.td.consul refused")
		if r := v.make(web).routes[0]; r.Refuse != route.RefuseTerminated {
			t.Errorf("%s: %s", protocol, r.Refuse)
		}
	}
	away := chainOf("web", "tcp")
	away.Targets["t"].Datacenter = "dc2"
	v.take(fact{aboutChain, "web", ""}, away)
	expect(t, v, web, "web.default.default.p1.external.td.consul refused", "web.default.default.p2.external.td.consul refused")
}

// TestGateways: of catalog and federation state the one that changed last counts.
func TestGateways(t *testing.T) {
	at := func(addr string, index uint64) []*api.ServiceEntry {
		return []*api.ServiceEntry{instance(addr, func(i *api.ServiceEntry) { i.Service.ModifyIndex = index })}
	}
	v, _ := viewOf(func(o *Options) { o.WANFederation = true })
	v.take(fact{kind: aboutDatacenters}, []string{"dc1", "dc2"})
	dc2 := part{datacenterPart, "", "dc2"}
	want := func(ends string) []string {
		return []string{
			"*.dc2.internal.td.consul > dc2.internal.td.consul", "dc2.internal.td.consul > dc2.internal.td.consul", "dc2.internal.td.consul = " + ends,
			"*.server.dc2.consul > server.dc2.consul", "server.dc2.consul > server.dc2.consul", "server.dc2.consul = " + ends,
		}
	}
	expect(t, v, dc2)
	v.take(fact{kind: aboutFederation}, map[string][]*api.ServiceEntry{"dc2": at("198.51.100.1:443", 5)})
	expect(t, v, dc2, want("198.51.100.1:443 passing 1")...)
	v.take(fact{aboutGateways, "gw", "dc2"}, at("198.51.100.2:443", 6))
	expect(t, v, dc2, want("198.51.100.2:443 passing 1")...)
	v.take(fact{aboutGateways, "other", "dc2"}, at("gw.example:443", 3))
	expect(t, v, dc2, want("198.51.100.2:443 passing 1, gw.example:443 passing 1")...)
	v.take(fact{kind: aboutFederation}, map[string][]*api.ServiceEntry{"dc2": at("198.51.100.3:443", 7)})
	expect(t, v, dc2, want("198.51.100.3:443 passing 1")...)
	v.take(fact{kind: aboutDatacenters}, []string{"dc1"})
	v.take(fact{kind: aboutFederation}, map[string][]*api.ServiceEntry{})
	expect(t, v, dc2)
}

func TestServers(t *testing.T) {
	server := func(node, addr string, meta map[string]string) *api.ServiceEntry {
		return instance(addr, func(i *api.ServiceEntry) { i.Node.Node, i.Service.Meta = node, meta })
	}
	v, log := viewOf(func(o *Options) { o.WANFederation = true })
	v.take(fact{kind: aboutServers}, []*api.ServiceEntry{
		server("n1", "10.0.0.1:8300", map[string]string{"grpc_tls_port": "8503"}),
		server("n2", "10.0.0.2:8300", map[string]string{"grpc_tls_port": "8503", "read_replica": "true"}),
		server("n3", "10.0.0.3:8300", nil),
	})
	here := part{serversPart, "", ""}
	each := []string{}
	for i := 1; i <= 3; i++ {
		name := fmt.Sprintf("n%d.server.dc1.consul", i)
		each = append(each, name+" > "+name, fmt.Sprintf("%s = 10.0.0.%d:8300 passing 1", name, i))
	}
	expect(t, v, here, slices.Clone(each)...)
	v.take(fact{kind: aboutFederation}, map[string][]*api.ServiceEntry{"dc1": nil})
	all := append(each, "server.dc1.consul > server.dc1.consul",
		"server.dc1.consul = 10.0.0.1:8300 passing 1, 10.0.0.2:8300 passing 1, 10.0.0.3:8300 passing 1")
	expect(t, v, here, slices.Clone(all)...)
	v.take(fact{kind: aboutMesh}, true)
	expect(t, v, here, append(all, "server.dc1.peering.td.consul > server.dc1.peering.td.consul",
		"server.dc1.peering.td.consul = 10.0.0.1:8503 passing 1")...)
	if !strings.Contains(log.String(), "server without a port for gRPC") {
		t.Errorf("log:\n%s", log)
	}
}

func TestPeers(t *testing.T) {
	v, _ := viewOf(nil)
	peers := part{peersPart, "", ""}
	v.take(fact{kind: aboutPeerings}, []*api.Peering{
		{Name: "old", PeerServerName: "server.dc2.peering.x", PeerServerAddresses: []string{"10.0.0.1:8503"}, ModifyIndex: 1},
		{Name: "new", PeerServerName: "server.dc2.peering.x", PeerServerAddresses: []string{"10.0.0.2:8503", "gw.example:443", "nonsense"}, ModifyIndex: 2},
		{Name: "accepts", PeerServerName: "server.dc3.peering.x"},
	})
	expect(t, v, peers)
	v.take(fact{kind: aboutMesh}, true)
	expect(t, v, peers, "server.dc2.peering.x > server.dc2.peering.x", "server.dc2.peering.x = 10.0.0.2:8503 passing 1, gw.example:443 passing 1")
}

// TestImports: what a peer exports stays while its stream is down, for then the leader
// lists nothing.
func TestImports(t *testing.T) {
	v, _ := viewOf(nil)
	peering := func(names ...string) []*api.Peering {
		return []*api.Peering{{Name: "p", StreamStatus: api.PeeringStreamStatus{ImportedServices: names}}}
	}
	f := fact{aboutImports, "api", "p"}
	wanted := func() bool { _, is := v.wants[f]; return is }
	v.take(fact{kind: aboutPeerings}, peering("api"))
	if !wanted() {
		t.Fatal("an imported service is not asked for")
	}
	const name = "api.default.default.dc1.external.other"
	v.take(f, imported{name, []*api.ServiceEntry{instance("198.51.100.1:443", nil)}})
	part := part{importedPart, "api", "p"}
	want := []string{name + " > " + name, name + " = 198.51.100.1:443 passing 1"}
	expect(t, v, part, want...)
	v.take(fact{kind: aboutPeerings}, peering())
	if !wanted() {
		t.Error("a service that has instances is given up")
	}
	expect(t, v, part, want...)
	v.take(f, imported{})
	v.take(fact{kind: aboutPeerings}, peering())
	if wanted() {
		t.Error("a service that is gone is asked for")
	}
	expect(t, v, part)
}

// BenchmarkChange is what one endpoint's change costs among 10,000 services.
func BenchmarkChange(b *testing.B) {
	v, _ := viewOf(nil)
	names := map[string]struct{}{}
	for i := range 10000 {
		names[fmt.Sprintf("service-%d", i)] = struct{}{}
	}
	v.take(fact{kind: aboutNames}, names)
	for name := range names {
		v.take(fact{aboutInstances, name, ""}, instancesAt(name, "10.0.0.1:80", "10.0.0.2:80"))
	}
	c := newCompiler(v)
	var store route.Store
	table, err := c.compile(time.Now())
	if err != nil {
		b.Fatal(err)
	}
	store.Swap(table)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 80).String()
		v.take(fact{aboutInstances, "service-77", ""}, instancesAt("service-77", "10.0.0.1:80", addr))
		table, err := c.compile(time.Now())
		if err != nil {
			b.Fatal(err)
		}
		if table == nil {
			b.Fatal("nothing changed")
		}
		store.Swap(table)
	}
}
