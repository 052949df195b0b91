package explain

import (
	"fmt"
	"strings"

	"sluice/userspace/route"
)

// Leads is what kind of place a route leads to. The kinds are "service", "subset",
// "exported" (a service here, as a peer calls it), "datacenter" (any service of another
// one, through its gateways), "peer" (a peer's service, through its gateways),
// "server" (one of Consul's own), "servers" and "other".
type Leads struct {
	Kind string `json:"kind"`
	Text string `json:"text"`
}

// exportedCluster begins the names of the clusters of services that peers may use
// (agent/xds/clusters.go in Consul's source).
const exportedCluster = "exported~"

// leads tells where a route leads. Who the route is for says more than the name that
// was asked for, of which a wildcard has seen only the end.
func (x *explainer) leads(r *route.Route) {
	l := x.leadsOf(r)
	x.e.Leads = &l
}

func (x *explainer) leadsOf(r *route.Route) Leads {
	under, wild := strings.CutPrefix(r.Name, "*.")
	n, ok := x.parse(under)
	if !ok {
		return Leads{"other", "a place that Consul has no name for"}
	}
	here := n.Datacenter == x.home.datacenter
	switch n.Form {
	case Service:
		where := "datacenter " + n.Datacenter
		if here && n.Domain == x.home.domain {
			where = "this datacenter, " + n.Datacenter
		}
		if n.Subset != "" {
			return Leads{"subset", fmt.Sprintf("subset %s of service %s in %s", n.Subset, n.label(), where)}
		}
		return Leads{"service", fmt.Sprintf("service %s in %s", n.label(), where)}
	case Datacenter:
		return Leads{"datacenter", fmt.Sprintf("the mesh gateways of datacenter %s, which know its services", n.Datacenter)}
	case Peered:
		if n.Domain == x.home.domain || strings.HasPrefix(r.Cluster, exportedCluster) {
			return Leads{"exported", fmt.Sprintf("service %s here, as peer %s calls it", n.label(), n.Peer)}
		}
		return Leads{"peer", fmt.Sprintf("the mesh gateways of the peer that exports service %s to this cluster, as %s", n.label(), n.Peer)}
	case Servers:
		if wild || !here {
			return Leads{"servers", fmt.Sprintf("Consul's servers in datacenter %s, through its mesh gateways", n.Datacenter)}
		}
		return Leads{"servers", fmt.Sprintf("Consul's servers in this datacenter, %s", n.Datacenter)}
	case Server:
		return Leads{"server", fmt.Sprintf("Consul's server %s in datacenter %s", n.Node, n.Datacenter)}
	case Peering:
		if n.Domain == x.home.domain {
			return Leads{"servers", fmt.Sprintf("Consul's servers in this datacenter, %s, as peers call them", n.Datacenter)}
		}
		return Leads{"servers", fmt.Sprintf("Consul's servers of a peer, in its datacenter %s", n.Datacenter)}
	}
	return Leads{"other", "what a prepared query finds"}
}

// label is how a service is called in a line, with its namespace when that is not the
// usual one.
func (n Name) label() string {
	if n.Namespace == "" || n.Namespace == defaultName {
		return n.Service
	}
	return n.Namespace + "/" + n.Service
}
