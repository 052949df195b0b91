package registration

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"

	"sluice/userspace/route"
)

// TestOptions reads proxy.config as an agent answers with it.
func TestOptions(t *testing.T) {
	standard := Options{ConnectTimeout: 5 * time.Second, Discovery: route.Logical}
	with := func(change func(*Options)) Options { o := standard; change(&o); return o }
	for text, c := range map[string]struct {
		want    Options
		wrong   string
		ignored string
	}{
		`{}`:                           {want: standard},
		`null`:                         {want: standard},
		`{"connect_timeout_ms": 1500}`: {want: with(func(o *Options) { o.ConnectTimeout = 1500 * time.Millisecond })},
		`{"connect_timeout_ms": "20"}`: {want: with(func(o *Options) { o.ConnectTimeout = 20 * time.Millisecond })},
		`{"Connect_Timeout_MS": [20]}`: {want: with(func(o *Options) { o.ConnectTimeout = 20 * time.Millisecond })},
		`{"connect_timeout_ms": null}`: {want: standard},
		`{"connect_timeout_ms": 0}`:    {want: standard, wrong: "connect_timeout_ms = 0: not between 1 and"},
		`{"connect_timeout_ms": -1}`:   {want: standard, wrong: "not between"},
		`{"connect_timeout_ms": 1e300, "sluice_path": "splice"}`: {want: with(func(o *Options) { o.Path = "splice" }), wrong: "not between"},
		`{"connect_timeout_ms": "5s"}`:                           {want: standard, wrong: "connect_timeout_ms = 5s: not a number"},
		`{"connect_timeout_ms": {"a": 1}}`:                       {want: standard, wrong: "not a number"},
		`{"envoy_dns_discovery_type": "STRICT_DNS"}`:             {want: with(func(o *Options) { o.Discovery = route.Strict })},
		`{"envoy_dns_discovery_type": "logical_dns"}`:            {want: standard},
		`{"envoy_dns_discovery_type": "EDS"}`:                    {want: standard, wrong: "envoy_dns_discovery_type = EDS: not one of strict_dns"},
		`{"envoy_dns_discovery_type": 7}`:                        {want: standard, wrong: "envoy_dns_discovery_type = 7"},
		`{"envoy_gateway_remote_tcp_enable_keepalive": "true", "envoy_gateway_remote_tcp_keepalive_time": 60,
		  "envoy_gateway_remote_tcp_keepalive_interval": "10", "envoy_gateway_remote_tcp_keepalive_probes": 3.0}`: {
			want: with(func(o *Options) { o.RemoteKeepalive = Keepalive{true, time.Minute, 10 * time.Second, 3} })},
		`{"envoy_gateway_remote_tcp_enable_keepalive": 1, "envoy_gateway_remote_tcp_keepalive_probes": 1000}`: {
			want:  with(func(o *Options) { o.RemoteKeepalive.Enable = true }),
			wrong: "envoy_gateway_remote_tcp_keepalive_probes = 1000: not between 0 and 127"},
		`{"envoy_gateway_remote_tcp_enable_keepalive": "maybe"}`: {want: standard, wrong: "envoy_gateway_remote_tcp_enable_keepalive = maybe: not a bool"},
		`{"sluice_path": "SockMap"}`:                             {want: with(func(o *Options) { o.Path = "sockmap" })},
		`{"sluice_path": "teleport"}`:                            {want: standard, wrong: "sluice_path = teleport: not one of auto"},
		`{"sluice_path": {"Web": "sockmap", "*.dc2.": "splice", "*": "auto", "api": "teleport"}}`: {
			want: with(func(o *Options) {
				o.Path, o.RoutePaths = "auto", map[string]string{"web": "sockmap", "*.dc2": "splice"}
			}),
			wrong: "sluice_path.api = teleport: not one of auto"},
		`{"sluice_path": [{"web": "sockmap"}]}`: {want: with(func(o *Options) { o.RoutePaths = map[string]string{"web": "sockmap"} })},
		`{"sluice_pth": "auto"}`:                {want: standard, wrong: "sluice_pth is not a known option"},
		`{"envoy_gateway_bind_addresses": 7}`:   {want: standard, wrong: "envoy_gateway_bind_addresses = 7"},
		`{"envoy_gateway_no_default_bind": {}}`: {want: standard, wrong: "envoy_gateway_no_default_bind"},
		`{"envoy_prometheus_bind_addr": "0.0.0.0:1", "envoy_stats_tags": [], "envoy_bootstrap_json_tpl": "", "envoy_tracing_json": "",
		  "envoy_extra_static_clusters_json": "", "envoy_dogstatsd_url": "", "protocol": "http", "local_connect_timeout_ms": 1, "xds_fetch_timeout_ms": 1}`: {
			want: standard, ignored: "envoy_bootstrap_json_tpl,envoy_dogstatsd_url,envoy_extra_static_clusters_json,envoy_prometheus_bind_addr,envoy_stats_tags,envoy_tracing_json,local_connect_timeout_ms,protocol,xds_fetch_timeout_ms"},
	} {
		var config map[string]any
		must(t, json.Unmarshal([]byte(text), &config))
		got, _, notes := parseOptions(config)
		if !got.Equal(c.want) {
			t.Errorf("%s:\n%+v, want\n%+v", text, got, c.want)
		}
		wrong := strings.Join(notes.wrong, "; ")
		if !strings.Contains(wrong, c.wrong) || (wrong == "") != (c.wrong == "") {
			t.Errorf("%s: wrong: %q, want %q", text, wrong, c.wrong)
		}
		if ignored := strings.Join(notes.ignored, ","); ignored != c.ignored {
			t.Errorf("%s: ignored %q, want %q", text, ignored, c.ignored)
		}
	}
}

// TestListeners follows the rules of Consul's listenersFromSnapshotGateway.
func TestListeners(t *testing.T) {
	service := &api.AgentService{Address: "10.0.0.1", Port: 8443, TaggedAddresses: map[string]api.ServiceAddress{
		"lan": {Address: "10.0.0.1", Port: 8443}, "lan_ipv4": {Address: "10.0.0.1", Port: 8443}, "wan": {Address: "192.0.2.1", Port: 443},
	}}
	named := &api.AgentService{Address: "gw.example.com", Port: 8443, TaggedAddresses: map[string]api.ServiceAddress{"wan": {Address: "gw.example.com", Port: 443}}}
	const lists = `"envoy_gateway_bind_addresses": {"b": {"address": "127.0.0.1", "port": "1"}, "a": [{"Address": "::", "Port": 2}], "c": {"address": "127.0.0.1", "port": 1}}`
	for _, c := range []struct {
		config string
		have   *api.AgentService
		dual   bool
		want   string
		wrong  string
	}{
		{`{}`, service, false, "default=10.0.0.1:8443", ""},
		{`{}`, &api.AgentService{Port: 8443}, false, "default=0.0.0.0:8443", ""},
		{`{}`, &api.AgentService{Port: 8443}, true, "default=[::]:8443", ""},
		{`{}`, &api.AgentService{}, false, "", "the port is not one from 1 to 65535; there is no address"},
		{`{}`, named, false, "", `cannot listen on "gw.example.com"`},
		{`{"envoy_gateway_bind_tagged_addresses": true}`, service, false, "default=10.0.0.1:8443 wan=192.0.2.1:443", ""},
		{`{"envoy_gateway_bind_tagged_addresses": "1", "envoy_gateway_no_default_bind": true}`, service, false, "lan=10.0.0.1:8443 wan=192.0.2.1:443", ""},
		{`{"envoy_mesh_gateway_bind_tagged_addresses": true, "envoy_mesh_gateway_no_default_bind": true}`, service, false, "lan=10.0.0.1:8443 wan=192.0.2.1:443", ""},
		{`{"envoy_mesh_gateway_no_default_bind": true, "envoy_gateway_no_default_bind": false}`, service, false, "default=10.0.0.1:8443", ""},
		{`{"envoy_gateway_no_default_bind": true}`, service, false, "", "there is no address to listen on"},
		{`{` + lists + `}`, service, false, "a=[::]:2 b=127.0.0.1:1 default=10.0.0.1:8443", ""},
		{`{"envoy_gateway_no_default_bind": true, ` + lists + `}`, named, false, "a=[::]:2 b=127.0.0.1:1", ""},
		{`{"envoy_gateway_bind_addresses": {"default": {"address": "127.0.0.1", "port": 1}, "lan": {"address": "10.0.0.1", "port": 8443}}}`, service, false,
			"default=10.0.0.1:8443 default=127.0.0.1:1", ""},
		{`{"envoy_gateway_bind_addresses": {"a": {"address": "x", "port": 1}, "b": {"address": "::ffff:127.0.0.1", "port": 2}, "c": "nothing", "d": {"address": "::1", "port": 70000}}}`, service, false,
			"b=127.0.0.1:2 default=10.0.0.1:8443", `envoy_gateway_bind_addresses.c = nothing: not an address and a port; address a: cannot listen on "x"`},
	} {
		var config map[string]any
		must(t, json.Unmarshal([]byte(c.config), &config))
		_, b, notes := parseOptions(config)
		all, wrong := b.listeners(c.have, c.dual)
		var got []string
		for _, l := range all {
			got = append(got, l.Name+"="+l.Addr.String())
		}
		slices.Sort(got)
		if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s: %s", c.config, diff)
		}
		text := strings.Join(append(notes.wrong, wrong...), "; ")
		if !strings.Contains(text, c.wrong) || (text == "") != (c.wrong == "") {
			t.Errorf("%s: wrong: %q, want %q", c.config, text, c.wrong)
		}
	}
}

// FuzzOptions wants no panic, limits kept, and the same twice.
func FuzzOptions(f *testing.F) {
	for _, text := range []string{
		`{"connect_timeout_ms": "1e9"}`, `{"envoy_gateway_bind_addresses": {"a": [{"port": -1}]}}`,
		`{"envoy_mesh_gateway_bind_addresses": [[]], "ENVOY_GATEWAY_NO_DEFAULT_BIND": [true]}`, `{"": [[[1]]]}`,
	} {
		f.Add(text)
	}
	service := &api.AgentService{Port: 1}
	f.Fuzz(func(t *testing.T, text string) {
		var config map[string]any
		if json.Unmarshal([]byte(text), &config) != nil {
			t.Skip("no JSON")
		}
		o, b, notes := parseOptions(config)
		if o.ConnectTimeout <= 0 || o.ConnectTimeout > 24*time.Hour || o.RemoteKeepalive.Probes < 0 || o.RemoteKeepalive.Time < 0 {
			t.Errorf("%+v", o)
		}
		listeners, _ := b.listeners(service, false)
		seen := map[netip.AddrPort]bool{}
		for _, l := range listeners {
			if seen[l.Addr] || !l.Addr.IsValid() || l.Addr.Port() == 0 {
				t.Errorf("listeners %v", listeners)
			}
			seen[l.Addr] = true
		}
		o2, _, notes2 := parseOptions(config)
		if !o.Equal(o2) || !slices.Equal(notes.wrong, notes2.wrong) || !slices.Equal(notes.ignored, notes2.ignored) {
			t.Errorf("%v, then %v", notes, notes2)
		}
	})
}

func TestPathOf(t *testing.T) {
	o := Options{RoutePaths: map[string]string{"web": "sockmap", "web.default.dc1": "auto", "*.dc2": "splice", "x": "auto"}}
	for name, want := range map[string]string{
		"web.default.dc2.internal.td.consul":    "sockmap",
		"web.default.dc1.internal.td.consul":    "auto",
		"web":                                   "sockmap",
		"webs.default.dc2.internal.td.consul":   "",
		"v1.web.default.dc1.internal.td.consul": "",
		"*.dc2.internal.td.consul":              "splice",
		"*":                                     "",
		"":                                      "",
	} {
		if got := o.PathOf(name); got != want {
			t.Errorf("%q takes %q, want %q", name, got, want)
		}
	}
	if got := (Options{Path: "auto"}).PathOf("web"); got != "" {
		t.Errorf("without paths of routes it takes %q", got)
	}
}
