package explain

import (
	"cmp"
	"fmt"
	"strings"
)

// unknown tells why no route has the name, and what may have been meant.
func (x *explainer) unknown() {
	x.absent()
	x.e.Near = x.nearest()
}

func (x *explainer) absent() {
	n, name := x.e.Consul, x.e.Name
	switch {
	case n == nil && !x.isConsul():
		x.refuse(unknownName, fmt.Sprintf("no route has the name %s, and no wildcard stands for it", name))
	case n == nil:
		x.refuse(notConsulName, fmt.Sprintf("no route has the name %s, and it has none of the forms of Consul's server names", name))
	case n.Form == Servers || n.Form == Server:
		x.absentServer(n)
	case n.Form == Peered:
		x.absentPeered(n)
	case !x.isOurs(n):
		x.refuse(otherDomain, fmt.Sprintf("the name is one of trust domain %s, and the one here is %s", n.Domain, x.home.domain))
	case n.Form == Query:
		x.refuse(preparedQuery, "the name is that of a prepared query, and Consul leads nobody to what one finds through a mesh gateway")
	case n.Form == Peering && n.Datacenter == x.home.datacenter:
		x.refuse(noPeering, "the servers here cannot be reached by peers through the gateway")
	case n.Datacenter != x.home.datacenter:
		x.refuse(unknownDatacenter, fmt.Sprintf("there is no way to a datacenter %s: %s", n.Datacenter, x.datacenters()))
	case n.Partition != x.home.partition:
		x.refuse(unknownPartition, fmt.Sprintf("the gateway serves the partition %s, and the name is one of %s", cmp.Or(x.home.partition, defaultName), cmp.Or(n.Partition, defaultName)))
	default:
		x.absentService(n)
	}
}

// isOurs tells whether a name is of this cluster, as far as it is known which that is.
func (x *explainer) isOurs(n *Name) bool {
	return n.Domain == x.home.domain || x.home.domain == ""
}

// datacenters says which ones there are.
func (x *explainer) datacenters() string {
	all := x.known()
	switch {
	case len(all) == 0:
		return "no datacenter is known"
	case len(all) == 1 && x.home.datacenter != "":
		return "this one, " + all[0] + ", is the only one known"
	}
	if x.home.datacenter != "" {
		all[0] += " (this one)"
	}
	const most = 8
	if more := len(all) - most; more > 0 {
		all = append(all[:most], fmt.Sprintf("%d more", more))
	}
	return "known are " + strings.Join(all, ", ")
}

func (x *explainer) absentService(n *Name) {
	if n.Form == Datacenter {
		x.refuse(unknownService, fmt.Sprintf("the name is that of this datacenter, %s, and of no service in it", n.Datacenter))
		return
	}
	if n.Subset != "" && x.Facts.Table.Route(n.whole()) != nil {
		x.refuse(unknownSubset, fmt.Sprintf("service %s is here, but has no subset %s", n.label(), n.Subset))
		return
	}
	text := fmt.Sprintf("there is no service %s in this datacenter, %s", n.label(), n.Datacenter)
	if len(x.ways) > 0 {
		text += "; for one in another datacenter, the name has to have that in place of " + n.Datacenter
	}
	x.refuse(unknownService, text)
}

func (x *explainer) absentPeered(n *Name) {
	of, known := x.peers[n.Peer]
	switch {
	case n.Domain == x.home.domain && known:
		x.refuse(notExported, fmt.Sprintf("this cluster does not export service %s to peer %s", n.label(), n.Peer))
	case n.Domain == x.home.domain:
		x.refuse(unknownPeer, fmt.Sprintf("this cluster exports no service to a peer named %s", n.Peer))
	case of[n.Domain]:
		x.refuse(notImported, fmt.Sprintf("the peer of trust domain %s, which calls this cluster %s, does not export service %s to it", n.Domain, n.Peer, n.label()))
	case x.domains[n.Domain]:
		x.refuse(unknownPeer, fmt.Sprintf("the peer of trust domain %s does not call this cluster %s", n.Domain, n.Peer))
	default:
		x.refuse(otherDomain, fmt.Sprintf("the name is one of trust domain %s, which is neither that of this cluster nor of a peer that exports to it", n.Domain))
	}
}

func (x *explainer) absentServer(n *Name) {
	switch {
	case n.Datacenter != x.home.datacenter && !x.ways[n.Datacenter]:
		x.refuse(unknownDatacenter, fmt.Sprintf("there is no way to a datacenter %s: %s", n.Datacenter, x.datacenters()))
	case len(x.servers) == 0:
		x.refuse(noFederation, "Consul's servers cannot be reached through the gateway")
	default:
		x.refuse(unknownServer, fmt.Sprintf("there is no server %s in datacenter %s", n.Node, n.Datacenter))
	}
}
