package registration

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
)

// DefaultService is the name of the service that is registered if none is given.
const DefaultService = "mesh-gateway"

// DefaultDeregisterAfter is how long a gateway may be critical, by default, before
// the agent deregisters it.
const DefaultDeregisterAfter = 6 * time.Hour

// Settings say which service is the gateway's, and with Register how it looks. They
// mean what the flags of the same name mean to "consul connect envoy -gateway=mesh"
// (command/connect/envoy/envoy.go in Consul's source).
type Settings struct {
	Register bool   // register the service; otherwise somebody else does
	Service  string // its name; "": DefaultService, or when it is looked for, any
	ID       string // of the instance; "": the name, or when it is looked for, any

	Address       api.ServiceAddress            // for the own datacenter; without Address: the node's, without Port: DefaultPort
	WANAddress    api.ServiceAddress            // for the others; without Address: none
	BindAddresses map[string]api.ServiceAddress // to listen on instead, by name

	ExposeServers           bool          // servers federate through this gateway
	DeregisterAfterCritical time.Duration // 0: never
	NoCentralConfig         bool          // proxy-defaults do not count
}

// Flags adds the flags that set s, with their defaults.
func (s *Settings) Flags(fs *flag.FlagSet) {
	fs.BoolVar(&s.Register, "register", s.Register, "Register the gateway's service with the Consul agent. Without it, somebody else has.")
	fs.StringVar(&s.Service, "service", s.Service, "`name` of the gateway's service. None: mesh-gateway with -register, otherwise any.")
	fs.StringVar(&s.ID, "proxy-id", s.ID, "`id` of the gateway's service in the agent. None: its name with -register, otherwise that of the agent's only mesh gateway.")
	fs.Var((*addressValue)(&s.Address), "address", "With -register, the `address` for the own datacenter, IP:PORT, IP or :PORT, or a template such as \"{{ GetPrivateIP }}:8443\". None: the node's, port 8443.")
	fs.Var((*addressValue)(&s.WANAddress), "wan-address", "With -register, the `address` for other datacenters, HOST:PORT or IP, or a template such as \"{{ GetPublicIP }}:443\". None: no other than -address.")
	fs.Var((*bindValue)(&s.BindAddresses), "bind-address", "With -register, listen on these addresses, `name=ip:port`, separated by commas or given several times, instead of -address.")
	fs.BoolVar(&s.ExposeServers, "expose-servers", s.ExposeServers, "With -register, let the servers of other datacenters reach this one's through the gateway (WAN federation).")
	s.DeregisterAfterCritical = DefaultDeregisterAfter
	fs.DurationVar(&s.DeregisterAfterCritical, "deregister-after-critical", DefaultDeregisterAfter, "With -register, have the agent deregister the gateway after it was critical for this `duration`. 0: never.")
	fs.BoolVar(&s.NoCentralConfig, "no-central-config", s.NoCentralConfig, "Do not take options from the proxy-defaults of the datacenter.")
}

// Check finds what no single flag can see, and names the flags.
func (s *Settings) Check() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	if !s.Register {
		const needs = "-%s requires -register: without it the service is somebody else's to define"
		bad(s.Address != api.ServiceAddress{}, needs, "address")
		bad(s.WANAddress != api.ServiceAddress{}, needs, "wan-address")
		bad(len(s.BindAddresses) > 0, needs, "bind-address")
		bad(s.ExposeServers, needs, "expose-servers")
		return errors.Join(errs...)
	}
	bad(strings.ContainsAny(s.Service+s.ID, "/?# \t\n"), "-service and -proxy-id must not contain blanks, slashes, ? or #")
	bad(unspecified(s.Address.Address), "-address %s is none that others can connect to", s.Address.Address)
	bad(unspecified(s.WANAddress.Address), "-wan-address %s is none that others can connect to", s.WANAddress.Address)
	bad(s.WANAddress.Address == "" && s.WANAddress.Port != 0, "-wan-address :%d lacks the host", s.WANAddress.Port)
	bad(s.DeregisterAfterCritical < 0, "-deregister-after-critical must not be negative")
	for _, name := range slices.Sorted(maps.Keys(s.BindAddresses)) {
		_, err := netip.ParseAddr(s.BindAddresses[name].Address)
		bad(err != nil, "-bind-address %s=%s: not an IP address", name, s.BindAddresses[name].Address)
	}
	if len(s.BindAddresses) == 0 {
		lan := s.Address.Address
		bad(lan != "" && !unspecified(lan) && !bindable(lan) && !loopback(lan),
			"-address %s is not of this host, so that the gateway cannot listen on it: give -bind-address as well", lan)
	}
	return errors.Join(errs...)
}

// name is that of the service to register.
func (s *Settings) name() string {
	if s.Service == "" {
		return DefaultService
	}
	return s.Service
}

// id is that of the service: "" if it must be found first.
func (s *Settings) id() string {
	if s.ID == "" && s.Register {
		return s.name()
	}
	return s.ID
}

func unspecified(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsUnspecified()
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
