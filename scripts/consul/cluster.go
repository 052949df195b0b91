package consul

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/google/uuid"
)

// Settings say how a cluster is to be; the zero value is one without ACLs and
// TLS, on the host's loopback.
type Settings struct {
	Hosts []Host // of the agents, in the cluster's order; nil: claim some on loopback
	Dir   string // for a directory of each agent's; "": temporary ones
	ACL   bool   // with a default policy of deny
	TLS   bool   // HTTPS and gRPC with TLS beside the plain ones
	HCL   string // further configuration of every agent

	Outlive bool // agents go on when this process ends without a Stop
}

// Cluster is some agents that belong together.
type Cluster struct {
	Agents []*Agent
	CA     *CA    // nil without TLS
	Token  string // of management; "" without ACLs

	settings Settings
	hosts    []Host
	block    *block // nil if the settings had hosts
}

// OneServer starts a datacenter, dc1, with one server.
func OneServer(ctx context.Context, s Settings) (*Cluster, error) {
	return newCluster(s, []int{1}, func(c *Cluster) error {
		if err := c.start(ctx, Options{}); err != nil {
			return err
		}
		return c.WaitHealthy(ctx)
	})
}

// ThreeServers starts a datacenter, dc1, with three servers, srv-dc1-1 to
// srv-dc1-3, of which any one may fail.
func ThreeServers(ctx context.Context, s Settings) (*Cluster, error) {
	return newCluster(s, []int{3}, func(c *Cluster) error {
		var all []Options
		for i := range c.hosts {
			o := Options{Node: fmt.Sprintf("srv-dc1-%d", i+1), Servers: 3}
			for _, h := range c.hosts {
				o.RetryJoin = append(o.RetryJoin, h.Addr.String())
			}
			all = append(all, o)
		}
		if err := c.start(ctx, all...); err != nil {
			return err
		}
		return c.WaitHealthy(ctx)
	})
}

// TwoDatacenters starts dc1, the primary, and dc2 with one server each, federated
// without gateways: servers reach each other.
func TwoDatacenters(ctx context.Context, s Settings) (*Cluster, error) {
	return newCluster(s, []int{1, 1}, func(c *Cluster) error {
		err := c.start(ctx,
			Options{Primary: "dc1"},
			Options{Primary: "dc1", Datacenter: "dc2", RetryJoinWAN: []string{c.hosts[0].Addr.String()}})
		if err != nil {
			return err
		}
		return c.WaitFederated(ctx)
	})
}

// TwoThroughGateways starts the two datacenters of TwoDatacenters with TLS, so
// that they federate through mesh gateways alone. The primary is healthy when it
// returns; dc2 has a leader, and is not of use until the primary's gateway is
// there with ExposeServers, at host:port primary ("": Gateway(1)). The way to dc2
// needs a gateway there as well. Once they run see Cluster.WaitFederated.
func TwoThroughGateways(ctx context.Context, s Settings, primary string) (*Cluster, error) {
	s.TLS = true
	return newCluster(s, []int{1, 1}, func(c *Cluster) error {
		if primary == "" {
			primary = c.Gateway(1).String()
		}
		err := c.start(ctx,
			Options{Primary: "dc1", GatewayWAN: true},
			Options{Primary: "dc1", GatewayWAN: true, Datacenter: "dc2", PrimaryGateways: []string{primary}})
		if err != nil {
			return err
		}
		if err := c.Agents[0].WaitHealthy(ctx); err != nil {
			return err
		}
		return c.Agents[1].WaitLeader(ctx)
	})
}

// TwoMeshes starts dc1 and dc2 with one server each, that know nothing of each
// other: for Peer.
func TwoMeshes(ctx context.Context, s Settings) (*Cluster, error) {
	return newCluster(s, []int{1, 1}, func(c *Cluster) error {
		if err := c.start(ctx, Options{}, Options{Datacenter: "dc2"}); err != nil {
			return err
		}
		return c.WaitHealthy(ctx)
	})
}

// Peered is TwoMeshes, with dc2 peered to dc1 without gateways.
func Peered(ctx context.Context, s Settings) (*Cluster, error) {
	c, err := TwoMeshes(ctx, s)
	if err != nil {
		return nil, err
	}
	if err := Peer(ctx, c.Agents[0], c.Agents[1]); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// newCluster makes a cluster of datacenters with so many agents each; run starts them
// and waits.
func newCluster(s Settings, agents []int, run func(*Cluster) error) (*Cluster, error) {
	c := &Cluster{settings: s}
	if err := c.prepare(agents); err != nil {
		return nil, err
	}
	if err := run(c); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// prepare gives the cluster its hosts and its secrets.
func (c *Cluster) prepare(agents []int) (err error) {
	n := 0
	for _, inDC := range agents {
		n += inDC
	}
	if c.hosts = c.settings.Hosts; c.hosts != nil && len(c.hosts) != n {
		return fmt.Errorf("consul: %d hosts for %d agents", len(c.hosts), n)
	}
	if c.settings.TLS {
		if c.CA, err = NewCA(); err != nil {
			return err
		}
	}
	if c.settings.ACL {
		c.Token = uuid.NewString()
	}
	if c.hosts != nil {
		return nil
	}
	if c.block, err = claimBlock(); err != nil {
		return err
	}
	for dc, inDC := range agents {
		for i := range inDC {
			c.hosts = append(c.hosts, Host{Addr: c.block.addr(dc+1, i+1)})
		}
	}
	return nil
}

// Loopback is the address 127.N.DATACENTER.HOST of the cluster's own block, for
// services, gateways and further agents; the cluster's own have hosts from 1 on.
// It is the zero Addr if the settings had hosts.
func (c *Cluster) Loopback(datacenter, host int) netip.Addr {
	if c.block == nil {
		return netip.Addr{}
	}
	return c.block.addr(datacenter, host)
}

// Gateway is where the cluster's settings leave room for a datacenter's mesh
// gateway: port 8443 of Loopback(datacenter, 10).
func (c *Cluster) Gateway(datacenter int) netip.AddrPort {
	return netip.AddrPortFrom(c.Loopback(datacenter, 10), 8443)
}

// start starts the agents on the cluster's hosts, one after the other, and adds
// them.
func (c *Cluster) start(ctx context.Context, all ...Options) error {
	for i, o := range all {
		o.Host = c.hosts[i]
		if _, err := c.Add(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// Add starts one more agent with the cluster's settings, at the options' host, and
// does not wait for it.
func (c *Cluster) Add(ctx context.Context, o Options) (*Agent, error) {
	o = o.withDefaults()
	o.Token, o.CA = c.Token, c.CA
	o.HCL = c.settings.HCL + "\n" + o.HCL
	o.Outlive = c.settings.Outlive
	if c.settings.Dir != "" {
		o.Dir = filepath.Join(c.settings.Dir, o.Node)
	}
	a, err := Start(ctx, o)
	if err != nil {
		return nil, err
	}
	c.Agents = append(c.Agents, a)
	return a, nil
}

// WaitHealthy waits until every agent is healthy.
func (c *Cluster) WaitHealthy(ctx context.Context) error {
	for _, a := range c.Agents {
		if err := a.WaitHealthy(ctx); err != nil {
			return err
		}
	}
	return nil
}

// WaitFederated waits until every agent is healthy and can read the catalogs of
// all of the cluster's datacenters.
func (c *Cluster) WaitFederated(ctx context.Context) error {
	if err := c.WaitHealthy(ctx); err != nil {
		return err
	}
	var datacenters []string
	for _, a := range c.Agents {
		datacenters = append(datacenters, a.Datacenter)
	}
	for _, a := range c.Agents {
		if err := a.WaitFederated(ctx, datacenters...); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends all agents, with their sidecars, and removes temporary files. A second
// Stop does nothing.
func (c *Cluster) Stop() error {
	var errs []error
	for _, a := range c.Agents {
		errs = append(errs, a.Stop())
	}
	if c.block != nil {
		errs = append(errs, c.block.release())
	}
	return errors.Join(errs...)
}
