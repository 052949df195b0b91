package xds

import (
	"fmt"
	"net/netip"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"

	"sluice/userspace/route"
)

const (
	tcpProxyFilter   = "envoy.filters.network.tcp_proxy"
	sniClusterFilter = "envoy.filters.network.sni_cluster"
)

// Listener is an address that the agent wants the gateway to listen on. Consul
// names it "default", or as the tagged or bind address it stands for.
type Listener struct {
	Name string
	Addr netip.AddrPort
}

// listener is a Listener resource, as far as it matters here.
type listener struct {
	addrs  []netip.AddrPort
	chains []chain
}

// chain is where the flows of some server names go.
type chain struct {
	names []string // lower case; "*" for any, and "*.x"
	target
}

// target is where a flow goes: to one cluster, or to the one of the flow's own
// server name, or nowhere.
type target struct {
	cluster string
	sni     bool
	refuse  string
}

// listener translates a Listener resource.
func (t *translator) listener(l *listenerv3.Listener) *listener {
	name := l.GetName()
	t.unsupported(l, name, "name", "address", "additional_addresses", "filter_chains", "default_filter_chain", "listener_filters",
		"traffic_direction", "access_log", "stat_prefix", "metadata", "per_connection_buffer_limit_bytes")
	for _, f := range l.GetListenerFilters() {
		if f.GetName() != "envoy.filters.listener.tls_inspector" {
			t.warn("listener filter not known: left out", "listener", name, "filter", f.GetName())
		}
	}
	out := &listener{}
	t.bind(out, name, l.GetAddress())
	for _, more := range l.GetAdditionalAddresses() {
		t.bind(out, name, more.GetAddress())
	}
	for _, c := range l.GetFilterChains() {
		names, ok := t.match(name, c.GetFilterChainMatch())
		if ok {
			out.chains = append(out.chains, chain{names, t.target(name, c)})
		}
	}
	if c := l.GetDefaultFilterChain(); c != nil {
		out.chains = append(out.chains, chain{[]string{"*"}, t.target(name, c)})
	}
	return out
}

func (t *translator) bind(l *listener, name string, a *corev3.Address) {
	host, port, err := socketAddress(a)
	if err == nil {
		var addr netip.Addr
		if addr, err = netip.ParseAddr(host); err == nil {
			l.addrs = append(l.addrs, netip.AddrPortFrom(addr, port))
			return
		}
	}
	t.warn("listener without an IP address and a TCP port: its routes count, its address does not", "listener", name, "err", err)
}

// match is the server names of a chain. It is false for a chain that selects by
// anything else: what is left of it may be more than was meant.
func (t *translator) match(listener string, m *listenerv3.FilterChainMatch) ([]string, bool) {
	if m == nil {
		return []string{"*"}, true
	}
	if t.unsupported(m, listener, "server_names", "transport_protocol") {
		return nil, false
	}
	if p := m.GetTransportProtocol(); p != "" && p != "tls" {
		t.warn("filter chain for what is not TLS: left out", "listener", listener, "transport_protocol", p)
		return nil, false
	}
	if len(m.GetServerNames()) == 0 {
		return []string{"*"}, true
	}
	names := make([]string, len(m.GetServerNames()))
	for i, n := range m.GetServerNames() {
		names[i] = strings.ToLower(n) // as Envoy does with the name that is sent
	}
	return names, true
}

// target is where a chain leads. A chain with a filter that is not known is
// refused: it may be one that keeps somebody out.
func (t *translator) target(listener string, c *listenerv3.FilterChain) target {
	t.unsupported(c, listener, "filter_chain_match", "filters", "transport_socket", "name", "metadata", "transport_socket_connect_timeout")
	if c.GetTransportSocket() != nil {
		return target{refuse: route.RefuseTerminated}
	}
	var out target
	proxied := false
	for _, f := range c.GetFilters() {
		switch f.GetName() {
		case sniClusterFilter:
			out.sni = true
		case tcpProxyFilter:
			cluster, err := proxyCluster(f)
			if err != nil {
				t.warn("filter chain that cannot be followed: its names are refused", "listener", listener, "err", err)
				return target{refuse: "its filter chain cannot be followed: " + err.Error()}
			}
			out.cluster, proxied = cluster, true
		default:
			t.warn("filter not known: the names of its chain are refused", "listener", listener, "filter", f.GetName())
			return target{refuse: fmt.Sprintf("its filter chain has %s, which Sluice does not know", f.GetName())}
		}
	}
	switch {
	case !proxied:
		t.warn("filter chain without a TCP proxy: its names are refused", "listener", listener)
		return target{refuse: "its filter chain leads nowhere"}
	case out.sni:
		out.cluster = ""
	case out.cluster == "":
		t.warn("TCP proxy without a cluster: its names are refused", "listener", listener)
		return target{refuse: "its filter chain names no cluster"}
	}
	return out
}

// proxyCluster is the cluster of a TCP proxy, empty before an SNI cluster filter
// fills it in.
func proxyCluster(f *listenerv3.Filter) (string, error) {
	var p tcpproxyv3.TcpProxy
	if err := f.GetTypedConfig().UnmarshalTo(&p); err != nil {
		return "", fmt.Errorf("its TCP proxy: %w", err)
	}
	if p.GetWeightedClusters() != nil {
		return "", fmt.Errorf("its TCP proxy splits between clusters")
	}
	return p.GetCluster(), nil
}
