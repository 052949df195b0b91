package xds

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	sniclusterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_cluster/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sluice/userspace/route"
)

var ignoreState = cmp.Options{
	cmpopts.IgnoreUnexported(route.Cluster{}),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmp.AllowUnexported(cluster{}, target{}, chain{}),
}

func TestCluster(t *testing.T) {
	kind := func(k clusterv3.Cluster_DiscoveryType) *clusterv3.Cluster_Type {
		return &clusterv3.Cluster_Type{Type: k}
	}
	inline := assignment("db", "10.0.0.1:80")
	inline.Endpoints[0].LbEndpoints = append(inline.Endpoints[0].LbEndpoints, lbEndpoint("db.example.net", 443))
	endpoints := []route.Endpoint{
		{Addrs: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:80")}, Weight: 1},
		{Host: "db.example.net", Port: 443, Weight: 1},
	}
	panicAt := func(v float64) *clusterv3.Cluster_CommonLbConfig {
		return &clusterv3.Cluster_CommonLbConfig{HealthyPanicThreshold: &typev3.Percent{Value: v}}
	}
	for _, test := range []struct {
		name    string
		cluster *clusterv3.Cluster
		want    cluster
		log     string // a part of what is logged, empty for nothing
	}{
		{"eds", edsCluster("web"), cluster{assignment: "web"}, ""},
		{"eds by another name", &clusterv3.Cluster{ClusterDiscoveryType: kind(clusterv3.Cluster_EDS),
			EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{ServiceName: "other"}}, cluster{assignment: "other"}, ""},
		{"strict dns", &clusterv3.Cluster{ClusterDiscoveryType: kind(clusterv3.Cluster_STRICT_DNS), LoadAssignment: inline},
			cluster{Cluster: route.Cluster{Endpoints: endpoints}}, ""},
		{"logical dns", &clusterv3.Cluster{ClusterDiscoveryType: kind(clusterv3.Cluster_LOGICAL_DNS), LoadAssignment: inline},
			cluster{Cluster: route.Cluster{Discovery: route.Logical, Endpoints: endpoints}}, ""},
		{"static", &clusterv3.Cluster{LoadAssignment: inline}, cluster{Cluster: route.Cluster{Endpoints: endpoints}}, ""},
		{"original dst", &clusterv3.Cluster{ClusterDiscoveryType: kind(clusterv3.Cluster_ORIGINAL_DST)},
			cluster{refuse: "its cluster is of type ORIGINAL_DST, which Sluice does not know"}, ""},
		{"custom", &clusterv3.Cluster{ClusterDiscoveryType: &clusterv3.Cluster_ClusterType{
			ClusterType: &clusterv3.Cluster_CustomClusterType{Name: "envoy.clusters.aggregate"}}},
			cluster{refuse: "its cluster is of type envoy.clusters.aggregate, which Sluice does not know"}, ""},
		{"tls", &clusterv3.Cluster{TransportSocket: transportTLS()},
			cluster{refuse: "its cluster needs TLS begun by the gateway, and Sluice neither decrypts nor encrypts"}, ""},

		{"connect timeout", &clusterv3.Cluster{ConnectTimeout: durationpb.New(7 * time.Second)}, cluster{Cluster: route.Cluster{ConnectTimeout: 7 * time.Second}}, ""},
		{"negative timeout", &clusterv3.Cluster{ConnectTimeout: durationpb.New(-1)}, cluster{}, ""},
		{"bad timeout", &clusterv3.Cluster{ConnectTimeout: &durationpb.Duration{Seconds: math.MaxInt64}}, cluster{}, ""},

		{"round robin", &clusterv3.Cluster{LbPolicy: clusterv3.Cluster_ROUND_ROBIN}, cluster{}, ""},
		{"random", &clusterv3.Cluster{LbPolicy: clusterv3.Cluster_RANDOM}, cluster{Cluster: route.Cluster{Policy: route.Random}}, ""},
		{"least request", &clusterv3.Cluster{LbPolicy: clusterv3.Cluster_LEAST_REQUEST}, cluster{Cluster: route.Cluster{Policy: route.LeastRequest}}, ""},
		{"least request of 5", &clusterv3.Cluster{LbPolicy: clusterv3.Cluster_LEAST_REQUEST, LbConfig: &clusterv3.Cluster_LeastRequestLbConfig_{
			LeastRequestLbConfig: &clusterv3.Cluster_LeastRequestLbConfig{ChoiceCount: wrapperspb.UInt32(5)}}},
			cluster{Cluster: route.Cluster{Policy: route.LeastRequest}}, "taken for two"},
		{"ring hash", &clusterv3.Cluster{LbPolicy: clusterv3.Cluster_RING_HASH}, cluster{Cluster: route.Cluster{Policy: route.Random}}, "becomes random"},
		{"maglev", &clusterv3.Cluster{LbPolicy: clusterv3.Cluster_MAGLEV}, cluster{Cluster: route.Cluster{Policy: route.Random}}, "becomes random"},
		{"other policy", &clusterv3.Cluster{LbPolicy: clusterv3.Cluster_CLUSTER_PROVIDED}, cluster{}, "becomes round robin"},

		{"no panic threshold", &clusterv3.Cluster{CommonLbConfig: &clusterv3.Cluster_CommonLbConfig{}}, cluster{}, ""},
		{"panic 0", &clusterv3.Cluster{CommonLbConfig: panicAt(0)}, cluster{Cluster: route.Cluster{PanicThreshold: route.NoPanic}}, ""},
		{"panic 0.1", &clusterv3.Cluster{CommonLbConfig: panicAt(0.1)}, cluster{Cluster: route.Cluster{PanicThreshold: 1}}, ""},
		{"panic 33", &clusterv3.Cluster{CommonLbConfig: panicAt(33)}, cluster{Cluster: route.Cluster{PanicThreshold: 33}}, ""},
		{"panic 1000", &clusterv3.Cluster{CommonLbConfig: panicAt(1000)}, cluster{Cluster: route.Cluster{PanicThreshold: 100}}, ""},
		{"panic NaN", &clusterv3.Cluster{CommonLbConfig: panicAt(math.NaN())}, cluster{Cluster: route.Cluster{PanicThreshold: route.NoPanic}}, ""},

		{"limit", &clusterv3.Cluster{CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{
			{MaxConnections: wrapperspb.UInt32(100)}}}}, cluster{}, "max_connections=100"},
		{"no limit", &clusterv3.Cluster{CircuitBreakers: &clusterv3.CircuitBreakers{}, OutlierDetection: &clusterv3.OutlierDetection{}}, cluster{}, ""},
		{"unknown setting", &clusterv3.Cluster{CloseConnectionsOnHostHealthFailure: true}, cluster{}, "envoy.config.cluster.v3.Cluster.close_connections_on_host_health_failure"},
		{"nothing", &clusterv3.Cluster{}, cluster{}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			log, buffer := newLog()
			if test.cluster.Name == "" {
				test.cluster.Name = "web"
			}
			test.want.Name = "web"
			if test.want.PanicThreshold == 0 {
				test.want.PanicThreshold = route.DefaultPanicThreshold
			}
			got := newTranslator(log).cluster(test.cluster)
			if diff := cmp.Diff(test.want, *got, ignoreState); diff != "" {
				t.Error(diff)
			}
			if s := buffer.String(); !strings.Contains(s, test.log) || (s == "") != (test.log == "") {
				t.Errorf("logged %q, want %q", s, test.log)
			}
		})
	}
}

func TestEndpoints(t *testing.T) {
	weighted := func(host string, weight uint32, health corev3.HealthStatus) *endpointv3.LbEndpoint {
		e := lbEndpoint(host, 80)
		e.LoadBalancingWeight, e.HealthStatus = wrapperspb.UInt32(weight), health
		return e
	}
	const (
		healthy   = corev3.HealthStatus_HEALTHY
		unhealthy = corev3.HealthStatus_UNHEALTHY
	)
	level := func(priority uint32, e ...*endpointv3.LbEndpoint) *endpointv3.LocalityLbEndpoints {
		return &endpointv3.LocalityLbEndpoints{Priority: priority, LbEndpoints: e}
	}
	bare := lbEndpoint("10.0.0.1", 80)
	bare.LoadBalancingWeight = nil
	named := address("10.0.0.1", 0)
	named.GetSocketAddress().PortSpecifier = &corev3.SocketAddress_NamedPort{NamedPort: "http"}
	udp := address("10.0.0.1", 80)
	udp.GetSocketAddress().Protocol = corev3.SocketAddress_UDP
	at := func(a *corev3.Address) *endpointv3.LbEndpoint {
		return &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: a}}}
	}
	for _, test := range []struct {
		name   string
		levels []*endpointv3.LocalityLbEndpoints
		want   string // "ENDPOINT/WEIGHT/HEALTH ..."
		log    string
	}{
		{"none", nil, "", ""},
		{"empty level", []*endpointv3.LocalityLbEndpoints{level(0), level(0), nil}, "", ""},
		{"health", []*endpointv3.LocalityLbEndpoints{level(0, weighted("10.0.0.1", 3, healthy), weighted("10.0.0.2", 4, unhealthy),
			weighted("10.0.0.3", 5, corev3.HealthStatus_UNKNOWN), weighted("10.0.0.4", 6, corev3.HealthStatus_DEGRADED),
			weighted("10.0.0.5", 7, corev3.HealthStatus_DRAINING), weighted("10.0.0.6", 8, corev3.HealthStatus_TIMEOUT))},
			"10.0.0.1:80/3/passing 10.0.0.2:80/4/critical 10.0.0.3:80/5/passing 10.0.0.4:80/6/warning 10.0.0.5:80/7/critical 10.0.0.6:80/8/critical", ""},
		{"localities", []*endpointv3.LocalityLbEndpoints{level(0, weighted("10.0.0.1", 1, healthy)), level(0, weighted("fd00::1", 1, healthy))},
			"10.0.0.1:80/1/passing [fd00::1]:80/1/passing", ""},
		{"no weight", []*endpointv3.LocalityLbEndpoints{level(0, bare)}, "10.0.0.1:80/1/passing", ""},
		{"weight 0", []*endpointv3.LocalityLbEndpoints{level(0, weighted("10.0.0.1", 0, healthy))}, "10.0.0.1:80/1/passing", ""},
		{"weight 1000", []*endpointv3.LocalityLbEndpoints{level(0, weighted("10.0.0.1", 1000, healthy))}, "10.0.0.1:80/128/passing", "weight=1000"},
		{"host", []*endpointv3.LocalityLbEndpoints{level(0, weighted("gw.example.net", 1, healthy))}, "gw.example.net:80/1/passing", ""},
		{"mapped", []*endpointv3.LocalityLbEndpoints{level(0, weighted("::ffff:10.0.0.1", 1, healthy), weighted("10.0.0.1", 2, healthy))}, "10.0.0.1:80/2/passing", ""},
		{"twice", []*endpointv3.LocalityLbEndpoints{level(0, weighted("10.0.0.1", 9, unhealthy), weighted("10.0.0.1", 2, healthy), weighted("10.0.0.1", 5, healthy),
			weighted("h", 1, healthy), weighted("h", 3, unhealthy))}, "10.0.0.1:80/5/passing h:80/1/passing", ""},
		{"first priority", []*endpointv3.LocalityLbEndpoints{level(1, weighted("10.0.0.2", 1, healthy)), level(0, weighted("10.0.0.1", 1, healthy))}, "10.0.0.1:80/1/passing", ""},
		{"second priority", []*endpointv3.LocalityLbEndpoints{level(0, weighted("10.0.0.1", 1, unhealthy)), level(1, weighted("10.0.0.2", 1, unhealthy), weighted("10.0.0.3", 1, healthy))},
			"10.0.0.2:80/1/critical 10.0.0.3:80/1/passing", ""},
		{"no healthy priority", []*endpointv3.LocalityLbEndpoints{level(0), level(1, weighted("10.0.0.1", 1, unhealthy)), level(7, weighted("10.0.0.2", 1, unhealthy))}, "10.0.0.1:80/1/critical", ""},
		{"priority far away", []*endpointv3.LocalityLbEndpoints{level(math.MaxUint32, weighted("10.0.0.1", 1, healthy))}, "", ""},
		{"pipe", []*endpointv3.LocalityLbEndpoints{level(0, at(&corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/x"}}}), bare)}, "10.0.0.1:80/1/passing", "Address_Pipe"},
		{"named port", []*endpointv3.LocalityLbEndpoints{level(0, at(named))}, "", "port by name"},
		{"udp", []*endpointv3.LocalityLbEndpoints{level(0, at(udp))}, "", "protocol UDP"},
		{"no address", []*endpointv3.LocalityLbEndpoints{level(0, &endpointv3.LbEndpoint{}, nil)}, "", "not an address"},
		{"port 0", []*endpointv3.LocalityLbEndpoints{level(0, lbEndpoint("10.0.0.1", 0))}, "", "has no port"},
		{"port 70000", []*endpointv3.LocalityLbEndpoints{level(0, lbEndpoint("10.0.0.1", 70000))}, "", "port 70000"},
		{"unspecified", []*endpointv3.LocalityLbEndpoints{level(0, lbEndpoint("0.0.0.0", 80), bare)}, "10.0.0.1:80/1/passing", "cannot be connected to"},
		{"bad host", []*endpointv3.LocalityLbEndpoints{level(0, lbEndpoint("not a host", 80), bare)}, "10.0.0.1:80/1/passing", "cannot be connected to"},
	} {
		t.Run(test.name, func(t *testing.T) {
			log, buffer := newLog()
			var got []string
			for _, e := range newTranslator(log).endpoints(&endpointv3.ClusterLoadAssignment{ClusterName: "web", Endpoints: test.levels}) {
				got = append(got, fmt.Sprintf("%s/%d/%s", e, e.Weight, e.Health))
			}
			if diff := cmp.Diff(test.want, strings.Join(got, " ")); diff != "" {
				t.Error(diff)
			}
			if s := buffer.String(); !strings.Contains(s, test.log) || (s == "") != (test.log == "") {
				t.Errorf("logged %q, want %q", s, test.log)
			}
		})
	}
}

func TestListener(t *testing.T) {
	match := func(m *listenerv3.FilterChainMatch, filters ...*listenerv3.Filter) *listenerv3.FilterChain {
		return &listenerv3.FilterChain{FilterChainMatch: m, Filters: filters}
	}
	web := &listenerv3.FilterChainMatch{ServerNames: []string{"web.x"}}
	terminated := match(web, filter(t, "envoy.filters.network.http_connection_manager", &hcmv3.HttpConnectionManager{}))
	terminated.TransportSocket = transportTLS()
	weighted := filter(t, tcpProxyFilter, &tcpproxyv3.TcpProxy{ClusterSpecifier: &tcpproxyv3.TcpProxy_WeightedClusters{WeightedClusters: &tcpproxyv3.TcpProxy_WeightedCluster{}}})
	broken := proxyTo(t, "web.x")
	broken.GetTypedConfig().Value = []byte{0xff}
	sni := filter(t, sniClusterFilter, &sniclusterv3.SniCluster{})
	rbac := filter(t, "envoy.filters.network.rbac", &sniclusterv3.SniCluster{})
	for _, test := range []struct {
		name  string
		chain *listenerv3.FilterChain
		want  []chain
		log   string
	}{
		{"names", toCluster(t, "c", "Web.X", "*.dc2.x", "*"), []chain{{[]string{"web.x", "*.dc2.x", "*"}, target{cluster: "c"}}}, ""},
		{"any name", match(&listenerv3.FilterChainMatch{}, proxyTo(t, "c")), []chain{{[]string{"*"}, target{cluster: "c"}}}, ""},
		{"by cluster", bySNI(t), []chain{{[]string{"*"}, target{sni: true}}}, ""},
		{"by cluster with a name", match(web, sni, proxyTo(t, "left out")), []chain{{[]string{"web.x"}, target{sni: true}}}, ""},
		{"tls", match(&listenerv3.FilterChainMatch{TransportProtocol: "tls"}, proxyTo(t, "c")), []chain{{[]string{"*"}, target{cluster: "c"}}}, ""},
		{"terminated", terminated, []chain{{[]string{"web.x"}, target{refuse: route.RefuseTerminated}}}, ""},
		{"http", match(web, filter(t, "envoy.filters.network.http_connection_manager", &hcmv3.HttpConnectionManager{})),
			[]chain{{[]string{"web.x"}, target{refuse: "its filter chain has envoy.filters.network.http_connection_manager, which Sluice does not know"}}}, "filter not known"},
		{"guarded", match(web, rbac, proxyTo(t, "c")),
			[]chain{{[]string{"web.x"}, target{refuse: "its filter chain has envoy.filters.network.rbac, which Sluice does not know"}}}, "filter not known"},
		{"weighted", match(web, weighted), []chain{{[]string{"web.x"}, target{refuse: "its filter chain cannot be followed: its TCP proxy splits between clusters"}}}, "cannot be followed"},
		{"nowhere", match(web), []chain{{[]string{"web.x"}, target{refuse: "its filter chain leads nowhere"}}}, "without a TCP proxy"},
		{"sni alone", match(web, sni), []chain{{[]string{"web.x"}, target{refuse: "its filter chain leads nowhere"}}}, "without a TCP proxy"},
		{"no cluster", match(web, proxyTo(t, "")), []chain{{[]string{"web.x"}, target{refuse: "its filter chain names no cluster"}}}, "without a cluster"},
		{"plain text", match(&listenerv3.FilterChainMatch{TransportProtocol: "raw_buffer"}, proxyTo(t, "c")), nil, "raw_buffer"},
		{"by port", match(&listenerv3.FilterChainMatch{ServerNames: []string{"web.x"}, DestinationPort: wrapperspb.UInt32(1)}, proxyTo(t, "c")), nil, "destination_port"},
		{"by protocol", match(&listenerv3.FilterChainMatch{ApplicationProtocols: []string{"h2"}}, proxyTo(t, "c")), nil, "application_protocols"},
	} {
		t.Run(test.name, func(t *testing.T) {
			log, buffer := newLog()
			got := newTranslator(log).listener(&listenerv3.Listener{Name: "l", Address: address("10.0.0.9", 8443), FilterChains: []*listenerv3.FilterChain{test.chain}})
			if diff := cmp.Diff(test.want, got.chains, ignoreState); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]netip.AddrPort{netip.MustParseAddrPort("10.0.0.9:8443")}, got.addrs, ignoreState); diff != "" {
				t.Error(diff)
			}
			if s := buffer.String(); !strings.Contains(s, test.log) || (s == "") != (test.log == "") {
				t.Errorf("logged %q, want %q", s, test.log)
			}
		})
	}
	t.Run("broken", func(t *testing.T) {
		got := newTranslator(discard).listener(&listenerv3.Listener{FilterChains: []*listenerv3.FilterChain{match(web, broken)}})
		if got := got.chains[0].refuse; !strings.Contains(got, "cannot be followed") {
			t.Error(got)
		}
	})
	t.Run("default chain", func(t *testing.T) {
		got := newTranslator(discard).listener(&listenerv3.Listener{DefaultFilterChain: bySNI(t)})
		if diff := cmp.Diff([]chain{{[]string{"*"}, target{sni: true}}}, got.chains, ignoreState); diff != "" {
			t.Error(diff)
		}
	})
}

// TestListeners: what several listeners say together.
func TestListeners(t *testing.T) {
	log, buffer := newLog()
	m := newMesh(log)
	p := &play{compiler: newCompiler(m, nil, new(Options).timing()), t: t, log: buffer, now: time.Now()}
	p.have("a.x", "b.x", "Big.x", "exported~a.x", "c.dc2.x", "dc2.x")
	wan := gatewayListener(t, "wan:10.0.0.1:8443", toCluster(t, "b.x", "n1"), toCluster(t, "b.x", "n2"))
	wan.Address = address("10.0.0.1", 8443)
	lan := gatewayListener(t, "lan:[fd00::1]:8443", toCluster(t, "a.x", "n1"), toCluster(t, "dc2.x", "*.dc2.x"), toCluster(t, "nope.x", "n3"),
		toCluster(t, "exported~a.x", "n4"), toCluster(t, "a.x", "not a name"))
	lan.Address = address("fd00::1", 8443)
	lan.AdditionalAddresses = []*listenerv3.AdditionalAddress{{Address: address("10.0.0.2", 443)}}
	odd := gatewayListener(t, "odd")
	odd.Address = address("not an address", 1)
	guarded := &listenerv3.FilterChain{FilterChainMatch: &listenerv3.FilterChainMatch{ServerNames: []string{"*.k.x", "a.x"}},
		Filters: bySNI(t).Filters}
	odd.FilterChains = append(odd.FilterChains, guarded)
	p.told(listenerType, wan, lan, odd)
	if _, err := p.compile(p.now); err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"*.dc2.x > dc2.x",
		"*.k.x ! its filter chain is for any cluster below k.x",
		"Big.x = 10.0.0.1:80",
		"a.x = 10.0.0.1:80",
		"a.x > a.x",
		"b.x = 10.0.0.1:80",
		"b.x > b.x",
		"big.x > Big.x",
		"c.dc2.x = 10.0.0.1:80", // its name leads to dc2.x, for the wildcard is the closer chain
		"dc2.x = 10.0.0.1:80",
		"dc2.x > dc2.x",
		"exported~a.x = 10.0.0.1:80",
		"n1 > a.x",
		"n2 > b.x",
		"n3 ! the agent has not told of its cluster, nope.x",
		"n4 > exported~a.x",
	}, "\n")
	if diff := cmp.Diff(want, text(p.table)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff("[{lan [fd00::1]:8443} {lan 10.0.0.2:443} {wan 10.0.0.1:8443}]", fmt.Sprint(p.bound())); diff != "" {
		t.Error(diff)
	}
	for _, want := range []string{"leads to two places", "not an address", `route \"not a name\"`} {
		if !strings.Contains(buffer.String(), want) {
			t.Errorf("not logged: %s\n%s", want, buffer)
		}
	}
}

// TestWarnsOnce: a thousand clusters with the same oddity are one line.
func TestWarnsOnce(t *testing.T) {
	log, buffer := newLog()
	tr := newTranslator(log)
	for i := range 1000 {
		tr.cluster(&clusterv3.Cluster{Name: fmt.Sprint(i), LbPolicy: clusterv3.Cluster_MAGLEV, ConnectionPoolPerDownstreamConnection: true})
	}
	if n := strings.Count(buffer.String(), "\n"); n != 2 {
		t.Errorf("%d lines:\n%s", n, buffer)
	}
}
