package modes

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"
)

const (
	none   = api.MeshGatewayModeNone
	local  = api.MeshGatewayModeLocal
	remote = api.MeshGatewayModeRemote
)

var db = destination{name: "db"}

// asked is what each place asks for.
type asked struct {
	upstream, override, instance, defaults, own, proxy api.MeshGatewayMode
}

func (a asked) entries() *defaults {
	d := &defaults{service: "web", upstreams: upstreamDefaults{mode: a.defaults}, own: a.own, proxy: a.proxy}
	d.overrides = map[destination]upstreamDefaults{db: {mode: a.override}}
	return d
}

// consul is what Consul makes of it: a model of agent/configentry that looks nothing
// like decide. central is without the upstream's own.
func (a asked) consul() (mode, central, instance api.MeshGatewayMode, place Place) {
	base := a.proxy
	if a.own != "" {
		base = a.own
	}
	ranks := []struct {
		api.MeshGatewayMode
		Place
	}{
		{a.proxy, PlaceProxyDefaults}, {a.own, PlaceServiceDefaults}, {a.defaults, PlaceServiceDefaults},
		{a.instance, PlaceInstance}, {a.override, PlaceServiceDefaults}, {a.upstream, PlaceUpstream},
	}
	place = PlaceNone
	for i, r := range ranks {
		if r.MeshGatewayMode != "" {
			mode, place = r.MeshGatewayMode, r.Place
		}
		if i < len(ranks)-1 {
			central = mode
		}
	}
	instance = a.instance
	if instance == "" {
		instance = base
	}
	return mode, central, instance, place
}

// TestDecideAll tries everything that the places may ask for, with a catalog as a
// consul-dataplane writes it and as an agent does: the mode must be Consul's
// always, and the place too unless the registration asks for what it would get
// anyway; then it may be another one that asks for the same.
func TestDecideAll(t *testing.T) {
	each := []api.MeshGatewayMode{"", none, local, remote}
	try := func(what string, a asked, given ask) {
		mode, central, _, place := a.consul()
		if given.implicit {
			mode = central
			b := a
			b.upstream = ""
			_, _, _, place = b.consul()
		}
		got := a.entries().decide(given)
		if mode == "" {
			mode = none
		}
		if got.Mode != mode {
			t.Errorf("%s, %+v: mode %q, want %q", what, a, got.Mode, mode)
		}
		if got.Place == place {
			return
		}
		b := a
		b.upstream, b.instance = "", ""
		if without, _, _, _ := b.consul(); without == mode {
			return // the registration changes nothing
		}
		b.instance = a.instance
		if without, _, _, _ := b.consul(); without == mode && place == PlaceUpstream {
			return // the upstream changes nothing
		}
		if given.instance == a.entries().base().Mode && place == PlaceInstance && got.Place == PlaceUpstream && what == "as merged" {
			return // the instance asks for what it would have anyway, but upstreams would not
		}
		t.Errorf("%s, %+v: %s, want %s", what, a, got, place)
	}
	for _, upstream := range each {
		for _, override := range each {
			for _, instance := range each {
				for _, defaults := range each {
					for _, own := range each {
						for _, proxy := range each {
							a := asked{upstream, override, instance, defaults, own, proxy}
							mode, central, merged, _ := a.consul()
							try("as registered", a, ask{upstream: upstream, instance: instance, destination: db})
							try("as merged", a, ask{upstream: mode, instance: merged, destination: db})
							if upstream == "" {
								try("implicit", a, ask{instance: instance, destination: db, implicit: true})
								try("implicit, merged", a, ask{upstream: central, instance: merged, destination: db, implicit: true, merged: true})
							}
						}
					}
				}
			}
		}
	}
}

func TestDecide(t *testing.T) {
	for _, c := range []struct {
		asked
		change func(*defaults, *ask)
		want   string
	}{
		{want: "none by default"},
		{asked: asked{proxy: local}, want: "local by proxy-defaults global: MeshGateway"},
		{asked: asked{proxy: local, own: remote}, want: "remote by service-defaults web: MeshGateway"},
		{asked: asked{own: remote, defaults: local}, want: "local by service-defaults web: UpstreamConfig.Defaults"},
		{asked: asked{defaults: local, instance: remote}, want: "remote by service instance"},
		{asked: asked{instance: remote, override: local}, want: "local by service-defaults web: UpstreamConfig.Overrides"},
		{asked: asked{override: local, upstream: none}, want: "none by upstream"},
		// What it would get anyway.
		{asked: asked{proxy: local, upstream: local}, want: "local by proxy-defaults global: MeshGateway"},
		// It would not: service-defaults have another one for upstreams.
		{asked: asked{proxy: local, defaults: remote, instance: local}, want: "local by service instance"},
		// The opaque mode is the weakest, and is not filled in for the instance.
		{change: func(d *defaults, a *ask) { d.opaque, a.upstream = remote, remote }, want: "remote by proxy-defaults global: Config.mesh_gateway"},
		{asked: asked{proxy: local}, change: func(d *defaults, _ *ask) { d.opaque = remote }, want: "local by proxy-defaults global: MeshGateway"},
		// Overrides are for one upstream, in one namespace, of one peer.
		{asked: asked{override: local}, change: func(_ *defaults, a *ask) { a.destination.peer = "p" }, want: "none by default"},
		{asked: asked{override: local}, change: func(_ *defaults, a *ask) { a.destination.namespace = "n" }, want: "none by default"},
		{asked: asked{override: local}, change: func(_ *defaults, a *ask) { a.implicit, a.elsewhere = true, true }, want: "none by default"},
		// The entries have changed, and the agent has not caught up.
		{change: func(_ *defaults, a *ask) { a.implicit, a.merged, a.upstream = true, true, local }, want: "local by service instance"},
	} {
		d, a := c.entries(), ask{upstream: c.upstream, instance: c.instance, destination: db}
		if c.change != nil {
			c.change(d, &a)
		}
		decision := d.decide(a)
		if got := fmt.Sprintf("%s by %s", decision.Mode, decision); got != c.want {
			t.Errorf("%+v: %s, want %s", c.asked, got, c.want)
		}
	}
}

func TestEntries(t *testing.T) {
	web := serviceName{name: "web"}
	e := entries{
		proxy: &api.ProxyConfigEntry{
			Mode:   api.ProxyModeTransparent,
			Config: map[string]any{"mesh_gateway": map[string]any{"Mode": "remote"}, "protocol": "http"},
		},
		services: map[serviceName]*api.ServiceConfigEntry{
			web: {Mode: api.ProxyModeDirect, MeshGateway: api.MeshGatewayConfig{Mode: local}, UpstreamConfig: &api.UpstreamConfiguration{
				Overrides: []*api.UpstreamConfig{
					{Name: "db", Namespace: "default", Protocol: "tcp"},
					{Name: "db", Peer: "p", MeshGateway: api.MeshGatewayConfig{Mode: none}},
				},
				Defaults: &api.UpstreamConfig{Protocol: "grpc"},
			}},
		},
	}
	allow := cmp.AllowUnexported(defaults{}, upstreamDefaults{}, destination{})
	want := &defaults{
		service: "web", own: local, opaque: remote,
		upstreams: upstreamDefaults{protocol: "grpc"},
		overrides: map[destination]upstreamDefaults{db: {protocol: "tcp"}, {name: "db", peer: "p"}: {mode: none}},
	}
	got := e.of(web)
	if diff := cmp.Diff(want, got, allow); diff != "" {
		t.Error(diff)
	}
	if p := got.protocol(db); p != "tcp" {
		t.Errorf("protocol of an override is %q", p)
	}
	if p := got.protocol(destination{name: "x"}); p != "grpc" {
		t.Errorf("protocol by default is %q", p)
	}
	want = &defaults{service: "web", opaque: remote, transparent: true, overrides: map[destination]upstreamDefaults{}}
	if diff := cmp.Diff(want, e.of(serviceName{"web", "other"}), allow); diff != "" {
		t.Error(diff)
	}
	for _, config := range []map[string]any{nil, {"mesh_gateway": "local"}, {"mesh_gateway": map[string]any{"mode": 1}}} {
		if mode := opaqueMode(config); mode != "" {
			t.Errorf("mode %q in %v", mode, config)
		}
	}
}
