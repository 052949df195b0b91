package modes

import (
	"strings"

	"github.com/hashicorp/consul/api"
)

// entries are the config entries that say something of modes.
type entries struct {
	proxy    *api.ProxyConfigEntry // nil: none
	services map[serviceName]*api.ServiceConfigEntry
}

// serviceName is a service's, with "" for the default namespace.
type serviceName struct{ name, namespace string }

// namespace is a namespace as serviceName wants it: own if it is left out.
func namespace(given, own string) string {
	if given == "" {
		given = own
	}
	if given == "default" {
		return ""
	}
	return given
}

// of is what the entries say to the sidecars of a service.
func (e *entries) of(service serviceName) *defaults {
	d := &defaults{service: service.name, overrides: map[destination]upstreamDefaults{}}
	if p := e.proxy; p != nil {
		d.proxy = p.MeshGateway.Mode
		d.opaque = opaqueMode(p.Config)
		d.transparent = p.Mode == api.ProxyModeTransparent
	}
	s := e.services[service]
	if s == nil {
		return d
	}
	d.own = s.MeshGateway.Mode
	if s.Mode != api.ProxyModeDefault {
		d.transparent = s.Mode == api.ProxyModeTransparent
	}
	if s.UpstreamConfig == nil {
		return d
	}
	for _, o := range s.UpstreamConfig.Overrides {
		to := destination{o.Name, namespace(o.Namespace, service.namespace), o.Peer}
		d.overrides[to] = upstreamDefaults{o.MeshGateway.Mode, o.Protocol}
	}
	if u := s.UpstreamConfig.Defaults; u != nil {
		d.upstreams = upstreamDefaults{u.MeshGateway.Mode, u.Protocol}
	}
	return d
}

// opaqueMode is the mode in the opaque part of proxy-defaults, which Consul takes
// when the entry has no other.
func opaqueMode(config map[string]any) api.MeshGatewayMode {
	gateway, _ := config["mesh_gateway"].(map[string]any)
	for key, value := range gateway {
		if mode, ok := value.(string); ok && strings.EqualFold(key, "mode") {
			return api.MeshGatewayMode(mode)
		}
	}
	return ""
}
