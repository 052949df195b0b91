package xds

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	sniclusterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_cluster/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sluice/userspace/route"
)

// patience is how long a thing may take that is bound to happen.
const patience = 20 * time.Second

// never is a time that no test waits for.
const never = time.Hour

var discard = slog.New(slog.DiscardHandler)

// logBuffer is a log to look into.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func newLog() (*slog.Logger, *logBuffer) {
	b := &logBuffer{}
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug})), b
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v still not: %s", patience, what)
		}
	}
}

// client is a Source that runs against a fake agent.
type client struct {
	*Source
	t    testing.TB
	log  *logBuffer
	stop context.CancelFunc
	over chan error

	mu     sync.Mutex
	tables []*route.Table
}

// start runs a source. Streams settle at once, and losses stay for ever, unless
// the test says otherwise.
func start(t testing.TB, a *agent, change func(*Source)) *client {
	t.Helper()
	log, buffer := newLog()
	s, err := New(Options{Address: a.addr, NodeID: "gw", Log: log, Settle: time.Nanosecond, Hold: never})
	if err != nil {
		t.Fatal(err)
	}
	s.times.retry, s.times.retryMax, s.times.busy = time.Millisecond, 10*time.Millisecond, time.Millisecond
	if change != nil {
		change(s)
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &client{Source: s, t: t, log: buffer, stop: stop, over: make(chan error, 1)}
	go func() { c.over <- s.Run(ctx, c.publish) }()
	t.Cleanup(c.end)
	return c
}

func (c *client) publish(t *route.Table) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tables = append(c.tables, t)
}

// end stops the source, which must obey soon.
func (c *client) end() {
	c.stop()
	select {
	case err := <-c.over:
		if err != nil {
			c.t.Errorf("Run: %v", err)
		}
		c.over <- nil
	case <-time.After(patience):
		c.t.Errorf("Run did not end")
	}
	if c.t.Failed() {
		c.t.Logf("log:\n%s", c.log)
	}
}

func (c *client) published() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.tables)
}

// table is the last one published, nil if there is none.
func (c *client) table() *route.Table {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.tables) == 0 {
		return nil
	}
	return c.tables[len(c.tables)-1]
}

// logged waits for a line in the log.
func (c *client) logged(text string) {
	c.t.Helper()
	eventually(c.t, "logged: "+text, func() bool { return strings.Contains(c.log.String(), text) })
}

// becomes waits for a table, written as by text.
func (c *client) becomes(want ...string) {
	c.t.Helper()
	want = slices.Sorted(slices.Values(want))
	got := ""
	defer func() {
		if c.t.Failed() {
			c.t.Logf("the table is\n%s", got)
		}
	}()
	eventually(c.t, "table\n"+strings.Join(want, "\n"), func() bool {
		if c.table() == nil {
			return false
		}
		got = text(c.table())
		return got == strings.Join(want, "\n")
	})
}

// text writes a table, routes as "NAME > CLUSTER" or "NAME ! REASON", and clusters
// as "CLUSTER = ENDPOINT, ENDPOINT", an unhealthy one with an "x" before it.
func text(t *route.Table) string {
	var lines []string
	for r := range t.Routes() {
		if r.Refuse != "" {
			lines = append(lines, r.Name+" ! "+r.Refuse)
		} else {
			lines = append(lines, r.Name+" > "+r.Cluster)
		}
	}
	for c := range t.Clusters() {
		var endpoints []string
		for _, e := range c.Endpoints {
			mark := ""
			if e.Health == route.Critical {
				mark = "x"
			}
			endpoints = append(endpoints, mark+e.String())
		}
		lines = append(lines, strings.TrimSpace(c.Name+" = "+strings.Join(endpoints, ", ")))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// resource wraps a message under its name, with a hash of it for a version.
func resource(t testing.TB, name string, m proto.Message) *discoveryv3.Resource {
	t.Helper()
	body, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return &discoveryv3.Resource{Name: name, Version: fmt.Sprintf("%x", body.GetValue()), Resource: body}
}

func edsCluster(name string) *clusterv3.Cluster {
	return &clusterv3.Cluster{Name: name, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS}}
}

// assignment has endpoints like "10.0.0.1:80", or "x10.0.0.1:80" for a dead one.
func assignment(cluster string, endpoints ...string) *endpointv3.ClusterLoadAssignment {
	locality := &endpointv3.LocalityLbEndpoints{}
	for _, e := range endpoints {
		host, dead := strings.CutPrefix(e, "x")
		ap := netip.MustParseAddrPort(host)
		lb := lbEndpoint(ap.Addr().String(), uint32(ap.Port()))
		if dead {
			lb.HealthStatus = corev3.HealthStatus_UNHEALTHY
		}
		locality.LbEndpoints = append(locality.LbEndpoints, lb)
	}
	return &endpointv3.ClusterLoadAssignment{ClusterName: cluster, Endpoints: []*endpointv3.LocalityLbEndpoints{locality}}
}

func lbEndpoint(host string, port uint32) *endpointv3.LbEndpoint {
	return &endpointv3.LbEndpoint{
		HealthStatus:        corev3.HealthStatus_HEALTHY,
		LoadBalancingWeight: wrapperspb.UInt32(1),
		HostIdentifier:      &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address(host, port)}},
	}
}

func address(host string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

func filter(t testing.TB, name string, config proto.Message) *listenerv3.Filter {
	t.Helper()
	body, err := anypb.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return &listenerv3.Filter{Name: name, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: body}}
}

func proxyTo(t testing.TB, cluster string) *listenerv3.Filter {
	return filter(t, tcpProxyFilter, &tcpproxyv3.TcpProxy{StatPrefix: "x", ClusterSpecifier: &tcpproxyv3.TcpProxy_Cluster{Cluster: cluster}})
}

func toCluster(t testing.TB, cluster string, names ...string) *listenerv3.FilterChain {
	return &listenerv3.FilterChain{
		FilterChainMatch: &listenerv3.FilterChainMatch{ServerNames: names},
		Filters:          []*listenerv3.Filter{proxyTo(t, cluster)},
	}
}

func bySNI(t testing.TB) *listenerv3.FilterChain {
	return &listenerv3.FilterChain{Filters: []*listenerv3.Filter{filter(t, sniClusterFilter, &sniclusterv3.SniCluster{}), proxyTo(t, "")}}
}

// gatewayListener is a listener as Consul makes it, with chains before the last one.
func gatewayListener(t testing.TB, name string, chains ...*listenerv3.FilterChain) *listenerv3.Listener {
	return &listenerv3.Listener{Name: name, Address: address("10.0.0.9", 8443), FilterChains: append(chains, bySNI(t))}
}

func transportTLS() *corev3.TransportSocket { return &corev3.TransportSocket{Name: "tls"} }
