package registration

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"

	"sluice/userspace/route"
)

// Names of options in proxy.config. Envoy's are those of agent/xds/config/config.go
// in Consul's source.
const (
	connectTimeout      = "connect_timeout_ms"
	bindTaggedAddresses = "envoy_gateway_bind_tagged_addresses"
	bindAddresses       = "envoy_gateway_bind_addresses"
	noDefaultBind       = "envoy_gateway_no_default_bind"
	dnsDiscovery        = "envoy_dns_discovery_type"
	keepaliveEnable     = "envoy_gateway_remote_tcp_enable_keepalive"
	keepaliveTime       = "envoy_gateway_remote_tcp_keepalive_time"
	keepaliveInterval   = "envoy_gateway_remote_tcp_keepalive_interval"
	keepaliveProbes     = "envoy_gateway_remote_tcp_keepalive_probes"
	sluicePath          = "sluice_path"
)

// oldNames are those that options had before Consul 1.8.
var oldNames = map[string]string{
	"envoy_mesh_gateway_bind_tagged_addresses": bindTaggedAddresses,
	"envoy_mesh_gateway_bind_addresses":        bindAddresses,
	"envoy_mesh_gateway_no_default_bind":       noDefaultBind,
}

// DefaultConnectTimeout is the one that Consul gives to a gateway's clusters.
const DefaultConnectTimeout = 5 * time.Second

// Paths are the values of sluice_path: how flows are carried.
var Paths = []string{"auto", "splice", "sockmap"}

// Options are what proxy.config says besides where to listen.
type Options struct {
	ConnectTimeout  time.Duration   // of clusters that have none of their own
	Discovery       route.Discovery // of remote gateways that are host names
	RemoteKeepalive Keepalive       // on connections to remote gateways
	Path            string          // one of Paths; "": not said

	// RoutePaths are the paths of some routes: by server name, or as much of its
	// beginning as is whole labels, such as "web", "v1.web" or "*.dc2".
	RoutePaths map[string]string
}

// Equal tells whether both say the same.
func (o Options) Equal(other Options) bool {
	return o.ConnectTimeout == other.ConnectTimeout && o.Discovery == other.Discovery && o.RemoteKeepalive == other.RemoteKeepalive &&
		o.Path == other.Path && maps.Equal(o.RoutePaths, other.RoutePaths)
}

// PathOf is what RoutePaths has for a route, "" for nothing: of several names that fit
// the longest counts.
func (o Options) PathOf(name string) string {
	path := ""
	for end := 0; end < len(name) && len(o.RoutePaths) > 0; end++ {
		n := strings.IndexByte(name[end:], '.')
		if n < 0 {
			n = len(name) - end
		}
		end += n
		path = cmp.Or(o.RoutePaths[name[:end]], path)
	}
	return path
}

// Keepalive is TCP's. Zero values are the system's.
type Keepalive struct {
	Enable   bool
	Time     time.Duration // of silence before the first probe
	Interval time.Duration // between probes
	Probes   int
}

// binding is what proxy.config says about where to listen.
type binding struct {
	noDefault bool
	tagged    bool
	addresses map[string]address
}

// address is one to listen on.
type address struct {
	Address string
	Port    int
}

// remarks are what there is to say about a proxy.config.
type remarks struct {
	wrong   []string // values that make no sense, and unknown options
	ignored []string // names of options that mean something to Envoy, or to sidecars, only
}

// parseOptions reads a proxy.config. An option with a bad value is as one that is
// not there, and the others count; Consul would forget all of them.
func parseOptions(config map[string]any) (Options, binding, remarks) {
	p := parser{config: map[string]any{}}
	p.collect(config)
	const day = 24 * 60 * 60
	b := binding{
		noDefault: get[bool](&p, noDefaultBind),
		tagged:    get[bool](&p, bindTaggedAddresses),
		addresses: p.addresses(),
	}
	o := Options{
		ConnectTimeout: time.Duration(p.number(connectTimeout, 1, day*1000)) * time.Millisecond,
		Discovery:      route.Logical,
		RemoteKeepalive: Keepalive{
			Enable: get[bool](&p, keepaliveEnable),
			// The limits are the kernel's: MAX_TCP_KEEPIDLE and the like in linux/tcp.h.
			Time:     time.Duration(p.number(keepaliveTime, 0, 32767)) * time.Second,
			Interval: time.Duration(p.number(keepaliveInterval, 0, 32767)) * time.Second,
			Probes:   p.number(keepaliveProbes, 0, 127),
		},
	}
	o.Path, o.RoutePaths = p.paths()
	if o.ConnectTimeout == 0 {
		o.ConnectTimeout = DefaultConnectTimeout
	}
	if p.choice(dnsDiscovery, "strict_dns", "logical_dns") == "strict_dns" {
		o.Discovery = route.Strict
	}
	for _, name := range slices.Sorted(maps.Keys(p.config)) { // that nobody asked for
		if forOthers(name) {
			p.ignored = append(p.ignored, name)
		} else {
			p.wrong = append(p.wrong, name+" is not a known option")
		}
	}
	return o, b, p.remarks
}

// parser takes options out of a proxy.config and collects remarks.
type parser struct {
	config map[string]any // by the name of today, in lower case
	remarks
}

// collect gives all options their names of today. To Consul upper and lower case are
// the same, and an old name counts if the new one is not there.
func (p *parser) collect(config map[string]any) {
	old := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(config)) { // the same one wins every time
		lower := strings.ToLower(name)
		if today, ok := oldNames[lower]; ok {
			old[today] = config[name]
		} else {
			p.config[lower] = config[name]
		}
	}
	for name, value := range old {
		if _, ok := p.config[name]; !ok {
			p.config[name] = value
		}
	}
}

// take removes an option, so that it is not among those that are not known.
func (p *parser) take(name string) (any, bool) {
	value, ok := p.config[name]
	delete(p.config, name)
	return value, ok && value != nil
}

func (p *parser) bad(name string, value any, why string) {
	p.wrong = append(p.wrong, fmt.Sprintf("%s = %v: %s", name, value, why))
}

// get is an option's value, "5000" and 5000 being the same number, 1 and "true" the
// same truth, and the zero value if it has none.
func get[T any](p *parser, name string) (result T) {
	if value, ok := p.take(name); ok {
		if err := decode(value, &result); err != nil {
			var zero T
			p.bad(name, value, fmt.Sprintf("not a %T", zero))
			return zero
		}
	}
	return result
}

// number is an option's value, 0 if it has none.
func (p *parser) number(name string, least, most int) int {
	value, ok := p.take(name)
	if !ok {
		return 0
	}
	var number float64 // JSON's
	if err := decode(value, &number); err != nil {
		p.bad(name, value, "not a number")
		return 0
	}
	if !(number >= float64(least) && number <= float64(most)) {
		p.bad(name, value, fmt.Sprintf("not between %d and %d", least, most))
		return 0
	}
	return int(number)
}

// choice is an option's value, in lower case, "" if it has none.
func (p *parser) choice(name string, known ...string) string {
	value, ok := p.take(name)
	if !ok {
		return ""
	}
	return p.oneOf(name, value, known)
}

// paths is sluice_path: one path for all routes, or one for each of some.
func (p *parser) paths() (all string, some map[string]string) {
	value, _ := single(nil, reflect.TypeFor[map[string]any](), p.config[sluicePath])
	byName, several := value.(map[string]any)
	if !several {
		return p.choice(sluicePath, Paths...), nil
	}
	p.take(sluicePath)
	some = map[string]string{}
	for name, value := range byName {
		path := p.oneOf(sluicePath+"."+name, value, Paths)
		switch name = strings.TrimSuffix(strings.ToLower(name), "."); {
		case path == "":
		case name == "*":
			all = path
		default:
			some[name] = path
		}
	}
	slices.Sort(p.wrong)
	return all, some
}

func (p *parser) oneOf(name string, value any, known []string) string {
	text, _ := value.(string)
	text = strings.ToLower(text)
	if !slices.Contains(known, text) {
		p.bad(name, value, "not one of "+strings.Join(known, ", "))
		return ""
	}
	return text
}

func (p *parser) addresses() map[string]address {
	all := map[string]address{}
	for name, value := range get[map[string]any](p, bindAddresses) {
		var a address
		if err := decode(value, &a); err != nil {
			p.bad(bindAddresses+"."+name, value, "not an address and a port")
			continue
		}
		all[name] = a
	}
	slices.Sort(p.wrong)
	return all
}

// decode is as lenient as Consul: agent/xds/config and lib/decode in its source.
func decode(value, result any) error {
	d, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		DecodeHook:       single,
		Result:           result,
		WeaklyTypedInput: true,
	})
	if err != nil {
		return err
	}
	return d.Decode(value)
}

// single takes the one thing out of a list where no list is wanted: HCL has a list for
// every block.
func single(_, to reflect.Type, value any) (any, error) {
	if to.Kind() == reflect.Slice {
		return value, nil
	}
	switch list := value.(type) {
	case []any:
		if len(list) == 1 {
			return list[0], nil
		}
	case []map[string]any:
		if len(list) == 1 {
			return list[0], nil
		}
	}
	return value, nil
}

// forOthers tells whether an option is known to mean nothing to Sluice: it is about
// the insides of Envoy, or about sidecars, which have proxy-defaults in common with
// gateways.
func forOthers(name string) bool {
	for _, prefix := range []string{"envoy_stats_", "envoy_prometheus_", "envoy_telemetry_", "envoy_extra_", "local_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	if strings.HasPrefix(name, "envoy_") && (strings.HasSuffix(name, "_json") || strings.HasSuffix(name, "_json_tpl")) {
		return true
	}
	switch name {
	case "envoy_statsd_url", "envoy_dogstatsd_url", "xds_fetch_timeout_ms",
		"protocol", "bind_address", "bind_port", "mesh_gateway", "limits", "passive_health_check",
		"max_inbound_connections", "balance_inbound_connections", "max_request_headers_kb":
		return true
	}
	return false
}
