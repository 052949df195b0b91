package consul

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/hashicorp/consul/api"
)

// Service is an instance of a service, with a TTL check that says what SetCheck
// told it, and maybe a sidecar.
type Service struct {
	Name    string
	ID      string // of the instance; "": the name
	Addr    netip.AddrPort
	Sidecar uint16 // port of its sidecar, at the same address; 0: none
	Status  string // of its check at first; "": passing

	Passing, Warning int // weights by health, of the sidecar too; 0: 1
	Tags             []string
	Meta             map[string]string
	Upstreams        []api.Upstream // of the sidecar
}

// CheckID is the name of the TTL check of an instance.
func CheckID(instance string) string { return instance + "-ttl" }

// SidecarID is the name that Consul gives to the sidecar of an instance.
func SidecarID(instance string) string { return instance + "-sidecar-proxy" }

// Registration is the service as the agent API wants it.
func (s Service) Registration() *api.AgentServiceRegistration {
	if s.ID == "" {
		s.ID = s.Name
	}
	if s.Status == "" {
		s.Status = api.HealthPassing
	}
	r := &api.AgentServiceRegistration{
		ID:      s.ID,
		Name:    s.Name,
		Address: s.Addr.Addr().String(),
		Port:    int(s.Addr.Port()),
		Tags:    s.Tags,
		Meta:    s.Meta,
		Weights: &api.AgentWeights{Passing: max(1, s.Passing), Warning: max(1, s.Warning)},
		Check: &api.AgentServiceCheck{
			CheckID: CheckID(s.ID), Name: "ttl", TTL: "24h", Status: s.Status,
		},
	}
	if s.Sidecar == 0 {
		return r
	}
	r.Connect = &api.AgentServiceConnect{SidecarService: &api.AgentServiceRegistration{
		Address: r.Address,
		Port:    int(s.Sidecar),
		// It has its instance's metadata and tags, but not its weights, and in
		// the mesh it is the sidecar's that count.
		Weights: r.Weights,
		// Without this it would have a TCP check as well, at intervals of 10 s.
		Checks: api.AgentServiceChecks{{Name: "alias", AliasService: s.ID}},
		Proxy: &api.AgentServiceConnectProxyConfig{
			LocalServiceAddress: r.Address,
			Upstreams:           s.Upstreams,
		},
	}}
	return r
}

// Register registers services with the agent, new ones or changed ones. For
// thousands of them see Fill.
func (a *Agent) Register(ctx context.Context, services ...Service) error {
	for _, s := range services {
		if err := a.register(ctx, s.Registration(), ""); err != nil {
			return err
		}
	}
	return nil
}

// register registers with a token, "" being the client's own.
func (a *Agent) register(ctx context.Context, r *api.AgentServiceRegistration, token string) error {
	err := a.client.Agent().ServiceRegisterOpts(r, api.ServiceRegisterOpts{Token: token}.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("register %s with %s: %w", r.ID, a.Node, err)
	}
	return nil
}

// SetCheck sets the status of an instance's check: passing, warning or critical.
func (a *Agent) SetCheck(ctx context.Context, instance, status string) error {
	if err := a.client.Agent().UpdateTTLOpts(CheckID(instance), "", status, query(ctx)); err != nil {
		return fmt.Errorf("set the check of %s to %s: %w", instance, status, err)
	}
	return nil
}

// Deregister removes an instance, with its sidecar, or a gateway.
func (a *Agent) Deregister(ctx context.Context, instance string) error {
	if err := a.client.Agent().ServiceDeregisterOpts(instance, query(ctx)); err != nil {
		return fmt.Errorf("deregister %s from %s: %w", instance, a.Node, err)
	}
	return nil
}

// MeshGateway is a gateway to register as "consul connect envoy -gateway=mesh
// -register" does (command/connect/envoy/envoy.go in Consul's source).
type MeshGateway struct {
	Name string         // of the service; "": mesh-gateway
	ID   string         // of the instance; "": the name
	LAN  netip.AddrPort // where the agent's datacenter reaches it
	WAN  string         // host:port for the others; the host may be a name; "": none

	ExposeServers bool           // servers federate through it
	Config        map[string]any // proxy.config, such as "connect_timeout_ms"

	// Token registers it; "" is the token of management. What xDS tells the gateway
	// is what this token may read, whichever it shows to xDS itself.
	Token string

	// Every is how often the agent connects to it to see whether it is alive.
	// 0 is one second, for tests to be quick; Envoy's has 10 s.
	Every time.Duration
}

// Registration is the gateway as the agent API wants it.
func (g MeshGateway) Registration() (*api.AgentServiceRegistration, error) {
	if g.Name == "" {
		g.Name = "mesh-gateway"
	}
	if g.ID == "" {
		g.ID = g.Name
	}
	if g.Every == 0 {
		g.Every = time.Second
	}
	lan := api.ServiceAddress{Address: g.LAN.Addr().String(), Port: int(g.LAN.Port())}
	r := &api.AgentServiceRegistration{
		Kind:            api.ServiceKindMeshGateway,
		Name:            g.Name,
		ID:              g.ID,
		Address:         lan.Address,
		Port:            lan.Port,
		TaggedAddresses: map[string]api.ServiceAddress{"lan": lan},
		Proxy:           &api.AgentServiceConnectProxyConfig{Config: g.Config},
		Check: &api.AgentServiceCheck{
			Name: "mesh-gateway listening", TCP: g.LAN.String(), Interval: g.Every.String(),
		},
	}
	if g.ExposeServers {
		r.Meta = map[string]string{"consul-wan-federation": "1"}
	}
	if g.WAN != "" {
		host, port, err := net.SplitHostPort(g.WAN)
		if err != nil {
			return nil, fmt.Errorf("WAN address of %s: %w", g.ID, err)
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("WAN address of %s: port: %w", g.ID, err)
		}
		r.TaggedAddresses["wan"] = api.ServiceAddress{Address: host, Port: int(n)}
	}
	return r, nil
}

// RegisterMeshGateway registers a gateway with the agent. It is critical to Consul
// until it listens.
func (a *Agent) RegisterMeshGateway(ctx context.Context, g MeshGateway) error {
	r, err := g.Registration()
	if err != nil {
		return err
	}
	return a.register(ctx, r, g.Token)
}
