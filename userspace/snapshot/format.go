package snapshot

import (
	"fmt"
	"net/netip"
	"time"

	"sluice/userspace/route"
)

// What the lines of the file hold. A field added here, or one with another meaning,
// needs another number of the format, for readers refuse what they do not know.

type headLine struct {
	Source    string           `json:"source"`
	Identity  string           `json:"identity"`
	Listeners []netip.AddrPort `json:"listeners,omitempty"`
	Written   time.Time        `json:"written"`
	Routes    int              `json:"routes"`
	Clusters  int              `json:"clusters"`
}

// itemLine has one of both.
type itemLine struct {
	Cluster *clusterLine `json:"cluster,omitempty"`
	Route   *routeLine   `json:"route,omitempty"`
}

type routeLine struct {
	Name     string `json:"name"`
	Cluster  string `json:"cluster,omitempty"`
	Refuse   string `json:"refuse,omitempty"`
	MaxFlows int    `json:"max_flows,omitempty"`
	Path     string `json:"path,omitempty"`
	Credit   int    `json:"credit,omitempty"`
}

type clusterLine struct {
	Name           string         `json:"name"`
	Policy         string         `json:"policy"`
	ConnectTimeout string         `json:"connect_timeout"` // as time.Duration writes it
	PanicThreshold int            `json:"panic_threshold"`
	SendProxy      bool           `json:"send_proxy,omitempty"`
	Discovery      string         `json:"discovery"`
	Endpoints      []endpointLine `json:"endpoints,omitempty"`
}

type endpointLine struct {
	Addrs  []netip.AddrPort `json:"addrs,omitempty"`
	Host   string           `json:"host,omitempty"`
	Port   uint16           `json:"port,omitempty"` // of Host
	Weight int              `json:"weight"`
	Health string           `json:"health"`
}

func lineOfRoute(r *route.Route) *routeLine {
	return &routeLine{r.Name, r.Cluster, r.Refuse, r.MaxFlows, r.Path, r.Credit}
}

func (l *routeLine) route() *route.Route {
	return &route.Route{
		Name: l.Name, Cluster: l.Cluster, Refuse: l.Refuse,
		Options: route.Options{MaxFlows: l.MaxFlows, Path: l.Path, Credit: l.Credit},
	}
}

// lineOfCluster works in the memory of endpoints, which it returns in the line.
func lineOfCluster(c *route.Cluster, endpoints []endpointLine) *clusterLine {
	for _, e := range c.Endpoints {
		endpoints = append(endpoints, endpointLine{e.Addrs, e.Host, e.Port, e.Weight, e.Health.String()})
	}
	return &clusterLine{
		c.Name, c.Policy.String(), c.ConnectTimeout.String(), c.PanicThreshold, c.SendProxy, c.Discovery.String(), endpoints,
	}
}

func (l *clusterLine) cluster() (*route.Cluster, error) {
	c := &route.Cluster{Name: l.Name, PanicThreshold: l.PanicThreshold, SendProxy: l.SendProxy}
	var err error
	if c.Policy, err = named[route.Policy](l.Policy); err != nil {
		return nil, fmt.Errorf("policy of cluster %q: %w", l.Name, err)
	}
	if c.Discovery, err = named[route.Discovery](l.Discovery); err != nil {
		return nil, fmt.Errorf("discovery of cluster %q: %w", l.Name, err)
	}
	if c.ConnectTimeout, err = time.ParseDuration(l.ConnectTimeout); err != nil {
		return nil, fmt.Errorf("connect timeout of cluster %q: %w", l.Name, err)
	}
	for _, e := range l.Endpoints {
		health, err := named[route.Health](e.Health)
		if err != nil {
			return nil, fmt.Errorf("health of an endpoint of cluster %q: %w", l.Name, err)
		}
		c.Endpoints = append(c.Endpoints, route.Endpoint{Addrs: e.Addrs, Host: e.Host, Port: e.Port, Weight: e.Weight, Health: health})
	}
	return c, nil
}

// named is the value of an enumeration that has this name. Values are small, and
// the first one that has no name is written as its number.
func named[T interface {
	~uint8
	String() string
}](name string) (T, error) {
	for v := T(0); ; v++ {
		switch text := v.String(); {
		case text == name:
			return v, nil
		case text == fmt.Sprint(uint8(v)):
			return 0, fmt.Errorf("%q is not known", name)
		}
	}
}
