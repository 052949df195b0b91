package modes

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"
)

func TestWay(t *testing.T) {
	here := target{service: "db", datacenter: "dc1"}
	there := target{service: "db", datacenter: "dc2"}
	peer := target{service: "db", peer: "p"}
	asks := target{service: "db", datacenter: "dc2", mode: local}
	peerAsks := target{service: "db", peer: "p", mode: local}
	external := target{service: "db", datacenter: "dc2", external: true}
	set := func(mode api.MeshGatewayMode) Decision { return Decision{Mode: mode, Place: PlaceProxyDefaults} }
	for _, c := range []struct {
		target
		Decision
		want string
	}{
		{here, nobody, "none by default: directly to sidecars in dc1, lan"},
		{here, set(local), "local by proxy-defaults: directly to sidecars in dc1, lan"},
		{here, set(remote), "remote by proxy-defaults: directly to sidecars in dc1, lan"},
		{there, nobody, "none by default: directly to sidecars in dc2, wan"},
		{there, set(none), "none by proxy-defaults: directly to sidecars in dc2, wan"},
		{there, set(local), "local by proxy-defaults: gateways of dc1 (lan), lan"},
		{there, set(remote), "remote by proxy-defaults: gateways of dc2 (wan), wan"},
		{asks, nobody, "local by service-defaults db: MeshGateway: gateways of dc1 (lan), lan"},
		{asks, set(none), "none by proxy-defaults: directly to sidecars in dc2, wan"},
		{external, set(local), "local by proxy-defaults: directly to sidecars in dc2, wan"},
		{peer, nobody, "remote by default: gateways of peer p (wan), wan"},
		{peer, set(none), "remote by proxy-defaults: gateways of peer p (wan), wan"},
		{peer, set(local), "local by proxy-defaults: gateways of dc1 (lan), lan"},
		{peer, set(remote), "remote by proxy-defaults: gateways of peer p (wan), wan"},
		{peerAsks, nobody, "remote by default: gateways of peer p (wan), wan"},
	} {
		w := way("dc1", c.target, c.Decision)
		net := "lan"
		if w.from.wan {
			net = "wan"
		}
		got := fmt.Sprintf("%s by %s: %s, %s", w.Mode, w.Decision, strings.TrimSuffix(w.Where(), ": none"), net)
		if got != c.want {
			t.Errorf("%+v, %+v:\n got %s\nwant %s", c.target, c.Decision, got, c.want)
		}
	}
}

func TestTargets(t *testing.T) {
	chain := &api.CompiledDiscoveryChain{
		StartNode: "router",
		Nodes: map[string]*api.DiscoveryGraphNode{
			"router": {Type: api.DiscoveryGraphNodeTypeRouter, Routes: []*api.DiscoveryRoute{
				{NextNode: "splitter"}, {NextNode: "b"}, {NextNode: "router"}, {NextNode: "missing"},
			}},
			"splitter": {Type: api.DiscoveryGraphNodeTypeSplitter, Splits: []*api.DiscoverySplit{{NextNode: "a"}, {NextNode: "b"}}},
			"a": {Type: api.DiscoveryGraphNodeTypeResolver, Resolver: &api.DiscoveryResolver{
				Target: "a", Failover: &api.DiscoveryFailover{Targets: []string{"p", "b", "missing"}},
			}},
			"b":       {Type: api.DiscoveryGraphNodeTypeResolver, Resolver: &api.DiscoveryResolver{Target: "b"}},
			"useless": {Type: api.DiscoveryGraphNodeTypeResolver, Resolver: &api.DiscoveryResolver{Target: "c"}},
		},
		Targets: map[string]*api.DiscoveryTarget{
			"a": {ID: "v1.a.default.default.dc1", Service: "a", ServiceSubset: "v1", Namespace: "default", Datacenter: "dc1",
				Subset: api.ServiceResolverSubset{Filter: "x"}, MeshGateway: api.MeshGatewayConfig{Mode: local}},
			"b": {ID: "external.x.default.dc2", Service: "external", Namespace: "x", Datacenter: "dc2", External: true},
			"p": {ID: "a.default.default.external.peer-1", Service: "a", Namespace: "default"},
			"c": {ID: "c", Service: "c", Datacenter: "dc1"},
		},
	}
	want := []target{
		{service: "a", subset: "v1", datacenter: "dc1", filter: "x", mode: local},
		{service: "external", namespace: "x", datacenter: "dc2", external: true},
		{service: "a", peer: "peer-1", failover: true},
	}
	if diff := cmp.Diff(want, targets(chain), cmp.AllowUnexported(target{})); diff != "" {
		t.Error(diff)
	}
	if got := targets(&api.CompiledDiscoveryChain{}); len(got) > 0 {
		t.Errorf("an empty chain leads to %v", got)
	}
}

func TestBest(t *testing.T) {
	wan := map[string]api.ServiceAddress{"wan": {Address: "203.0.113.1", Port: 443}}
	noPort := map[string]api.ServiceAddress{"wan": {Address: "gw.example"}}
	for _, c := range []struct {
		name    string
		service api.AgentService
		node    map[string]string
		wan     bool
		want    string
	}{
		{"lan", api.AgentService{Address: "10.0.0.1", Port: 8443, TaggedAddresses: wan}, nil, false, "10.0.0.1 8443 true"},
		{"wan", api.AgentService{Address: "10.0.0.1", Port: 8443, TaggedAddresses: wan}, nil, true, "203.0.113.1 443 true"},
		{"wan without a port", api.AgentService{Address: "10.0.0.1", Port: 8443, TaggedAddresses: noPort}, nil, true, "gw.example 8443 true"},
		{"no wan", api.AgentService{Address: "10.0.0.1", Port: 8443}, map[string]string{"wan": "203.0.113.9"}, true, "10.0.0.1 8443 false"},
		{"the node's", api.AgentService{Port: 8443}, map[string]string{"wan": "203.0.113.9"}, false, "192.0.2.1 8443 true"},
		{"the node's wan", api.AgentService{Port: 8443}, map[string]string{"wan": "203.0.113.9"}, true, "203.0.113.9 8443 true"},
		{"the node's only", api.AgentService{Port: 8443}, nil, true, "192.0.2.1 8443 false"},
	} {
		host, port, far := best(&api.ServiceEntry{Node: &api.Node{Address: "192.0.2.1", TaggedAddresses: c.node}, Service: &c.service}, c.wan)
		if got := fmt.Sprint(host, " ", port, " ", far); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
