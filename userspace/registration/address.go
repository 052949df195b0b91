package registration

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/consul/api"
	"github.com/hashicorp/go-sockaddr/template"
)

// DefaultPort is the port of an address that was given without one.
const DefaultPort = 8443

// parseAddress reads "host:port", "ip", "[ip]:port" or ":port", after the go-sockaddr
// templates in it, {{ ... }}, were filled in.
func parseAddress(text string) (api.ServiceAddress, error) {
	var none api.ServiceAddress
	filled, err := template.Parse(text)
	if err != nil {
		return none, err
	}
	fail := func(why string) (api.ServiceAddress, error) {
		if filled != text {
			why = fmt.Sprintf("the template gave %q: %s", filled, why)
		}
		return none, errors.New(why)
	}
	if ip, err := netip.ParseAddr(strings.Trim(filled, "[]")); err == nil {
		return api.ServiceAddress{Address: ip.String(), Port: DefaultPort}, nil
	}
	host, portText, err := net.SplitHostPort(filled)
	if err != nil {
		return fail("neither an IP address nor HOST:PORT")
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	switch {
	case err != nil || port == 0:
		return fail(fmt.Sprintf("the port %q is not a number from 1 to 65535", portText))
	case host == "" && filled != text:
		return fail("there is no such address on this host")
	case strings.ContainsAny(host, " \t\n/,"):
		return fail("more than one address, or not one")
	}
	return api.ServiceAddress{Address: host, Port: int(port)}, nil
}

func format(a api.ServiceAddress) string {
	return net.JoinHostPort(a.Address, strconv.Itoa(a.Port))
}

// addressValue is an address as a flag.
type addressValue api.ServiceAddress

func (v *addressValue) String() string {
	if v == nil || *v == (addressValue{}) {
		return ""
	}
	return format(api.ServiceAddress(*v))
}

func (v *addressValue) Set(text string) error {
	a, err := parseAddress(text)
	if err == nil {
		*v = addressValue(a)
	}
	return err
}

// bindValue is addresses by name as a flag: "name=ip:port,name=ip:port".
type bindValue map[string]api.ServiceAddress

func (v *bindValue) String() string {
	if v == nil {
		return ""
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(*v)) {
		parts = append(parts, name+"="+format((*v)[name]))
	}
	return strings.Join(parts, ",")
}

// Set adds to what was set before.
func (v *bindValue) Set(text string) error {
	all := maps.Clone(*v)
	if all == nil {
		all = bindValue{}
	}
	for _, part := range splitOutside(text) {
		name, addr, ok := strings.Cut(part, "=")
		name = strings.TrimSpace(name)
		if !ok || name == "" {
			return fmt.Errorf("%q is not of the form NAME=IP:PORT", part)
		}
		if _, twice := all[name]; twice {
			return fmt.Errorf("the name %s is given twice", name)
		}
		a, err := parseAddress(strings.TrimSpace(addr))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		all[name] = a
	}
	*v = all
	return nil
}

// splitOutside splits at the commas that are outside of templates.
func splitOutside(text string) []string {
	var parts []string
	begin, inside := 0, false
	for i := range len(text) {
		switch {
		case strings.HasPrefix(text[i:], "{{"):
			inside = true
		case strings.HasPrefix(text[i:], "}}"):
			inside = false
		case text[i] == ',' && !inside:
			parts = append(parts, text[begin:i])
			begin = i + 1
		}
	}
	return append(parts, text[begin:])
}
