package registration

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"
)

// The names of addresses and of metadata that Consul gives a meaning to
// (agent/structs in its source).
const (
	taggedLAN     = "lan"
	taggedWAN     = "wan"
	wanFederation = "consul-wan-federation"
)

// checkEvery is how often the agent connects to the gateway.
const checkEvery = "10s"

// definition is the service to register, as proxyRegistration builds it in Consul's
// command/connect/envoy/envoy.go. dualStack is whether the agent is bound to an IPv6
// address.
func (s *Settings) definition(dualStack bool) *api.AgentServiceRegistration {
	lan := s.Address
	if lan.Port == 0 {
		lan.Port = DefaultPort
	}
	d := &api.AgentServiceRegistration{
		Kind:            api.ServiceKindMeshGateway,
		Name:            s.name(),
		ID:              s.id(),
		Address:         lan.Address,
		Port:            lan.Port,
		TaggedAddresses: map[string]api.ServiceAddress{},
	}
	if lan.Address != "" {
		d.TaggedAddresses[taggedLAN] = lan
	}
	if s.WANAddress.Address != "" {
		d.TaggedAddresses[taggedWAN] = s.WANAddress
	}
	if s.ExposeServers {
		d.Meta = map[string]string{wanFederation: "1"}
	}
	if config := s.binding(); config != nil {
		d.Proxy = &api.AgentServiceConnectProxyConfig{Config: config}
	}
	checked := lan
	if checked.Address == "" {
		checked.Address = "127.0.0.1"
		if dualStack {
			checked.Address = "::1"
		}
	}
	d.Check = &api.AgentServiceCheck{
		Name:     "mesh-gateway listening",
		TCP:      format(checked),
		Interval: checkEvery,
	}
	if s.DeregisterAfterCritical > 0 {
		d.Check.DeregisterCriticalServiceAfter = s.DeregisterAfterCritical.String()
	}
	return d
}

// binding is the part of proxy.config that says where to listen. Nil: at the
// service's address.
func (s *Settings) binding() map[string]any {
	switch {
	case len(s.BindAddresses) > 0:
		return map[string]any{noDefaultBind: true, bindAddresses: s.BindAddresses}
	case bindable(s.Address.Address) && bindable(s.WANAddress.Address):
		return map[string]any{noDefaultBind: true, bindTaggedAddresses: true}
	}
	return nil
}

// bindable tells whether the host is an IP address of an interface of this host.
func bindable(host string) bool {
	ip := net.ParseIP(host)
	if ip == nil {
		return false
	}
	addrs, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(addrs, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(ip)
	})
}

// differs says in what the agent's service is not the one that was registered; "" if
// in nothing. What the agent adds by itself does not count: addresses of tags such as
// lan_ipv4, and options of proxy-defaults.
func differs(want *api.AgentServiceRegistration, have *api.AgentService) string {
	for _, f := range []struct {
		name       string
		want, have any
	}{
		{"kind", want.Kind, have.Kind},
		{"name", want.Name, have.Service},
		{"address", want.Address, have.Address},
		{"port", want.Port, have.Port},
		{"tags", strings.Join(want.Tags, ","), strings.Join(have.Tags, ",")},
		{"meta", orEmpty(want.Meta), orEmpty(have.Meta)},
		{"tagged addresses", ownAddresses(want.TaggedAddresses), ownAddresses(have.TaggedAddresses)},
		{"weights", api.AgentWeights{Passing: 1, Warning: 1}, have.Weights},
	} {
		if !reflect.DeepEqual(f.want, f.have) {
			return fmt.Sprintf("%s is %v, not %v", f.name, f.have, f.want)
		}
	}
	if want.Proxy == nil {
		return ""
	}
	config := plain(want.Proxy.Config)
	if have.Proxy == nil || !within(config, have.Proxy.Config) {
		return fmt.Sprintf("proxy.config lacks some of %v", config)
	}
	return ""
}

// within tells whether what is in want is in have as well. The agent merges maps
// inside of maps, too.
func within(want, have any) bool {
	w, ok := want.(map[string]any)
	if !ok {
		return reflect.DeepEqual(want, have)
	}
	h, ok := have.(map[string]any)
	if !ok {
		return false
	}
	for key, value := range w {
		if !within(value, h[key]) {
			return false
		}
	}
	return true
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// ownAddresses leaves out those that the agent adds for either family of addresses.
func ownAddresses(all map[string]api.ServiceAddress) map[string]api.ServiceAddress {
	own := map[string]api.ServiceAddress{}
	maps.Copy(own, all)
	maps.DeleteFunc(own, func(name string, _ api.ServiceAddress) bool {
		return strings.HasSuffix(name, "_ipv4") || strings.HasSuffix(name, "_ipv6")
	})
	return own
}

// plain is a proxy.config as it looks when the agent answers with it: of the types
// that JSON has.
func plain(config map[string]any) map[string]any {
	text, err := json.Marshal(config)
	var all map[string]any
	if err != nil || json.Unmarshal(text, &all) != nil {
		return config
	}
	return all
}
