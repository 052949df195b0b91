package registration

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"
)

// Listener is an address to listen on, and what it is for: "default" is the
// service's own, others are tagged addresses or bind addresses.
type Listener struct {
	Name string
	Addr netip.AddrPort
}

// listeners are the addresses that proxy.config and the service together say, by
// name and each once, as listenersFromSnapshotGateway has it in Consul's
// agent/xds/listeners.go; and what is wrong with the others.
func (b binding) listeners(service *api.AgentService, dualStack bool) (all []Listener, wrong []string) {
	type named struct {
		name string
		address
	}
	var candidates []named // two may have the same name
	if !b.noDefault {
		candidates = append(candidates, named{"default", address{or(service.Address, anyAddress(dualStack)), service.Port}})
	}
	if b.tagged {
		for name, a := range service.TaggedAddresses {
			candidates = append(candidates, named{name, address(a)})
		}
	}
	for name, a := range b.addresses {
		candidates = append(candidates, named{name, a})
	}
	slices.SortStableFunc(candidates, func(a, b named) int { return strings.Compare(a.name, b.name) })
	for _, c := range candidates {
		addr, err := c.addrPort()
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("address %s: %v", c.name, err))
			continue
		}
		if !slices.ContainsFunc(all, func(l Listener) bool { return l.Addr == addr }) {
			all = append(all, Listener{c.name, addr})
		}
	}
	if len(all) == 0 {
		wrong = append(wrong, "there is no address to listen on: "+
			noDefaultBind+" needs "+bindAddresses+" or "+bindTaggedAddresses)
	}
	return all, wrong
}

func (a address) addrPort() (netip.AddrPort, error) {
	ip, err := netip.ParseAddr(a.Address)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("cannot listen on %q, which is not an IP address: give %s", a.Address, bindAddresses)
	}
	if a.Port < 1 || a.Port > 65535 {
		return netip.AddrPort{}, errors.New("the port is not one from 1 to 65535")
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(a.Port)), nil
}

func anyAddress(dualStack bool) string {
	if dualStack {
		return "::"
	}
	return "0.0.0.0"
}

func or(text, fallback string) string {
	if text == "" {
		return fallback
	}
	return text
}
