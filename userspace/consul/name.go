package consul

import (
	"slices"
	"strings"
)

// Server names are made as Consul makes them (agent/connect/sni.go, and ServerSNI in
// tlsutil/config.go). A partition other than the default one is a part of the name,
// and of its version.

const (
	defaultName    = "default"    // of the partition and the namespace that everything is in without Consul Enterprise
	exportedPrefix = "exported~"  // of the clusters of services that peers may use
	importedMark   = ".external." // between a service and the trust domain of the cluster that exports it
)

// serviceName is the server name of a service, or of a subset of it unless that is
// empty.
func (v *view) serviceName(subset, service, namespace string) string {
	if namespace == "" {
		namespace = defaultName
	}
	name := dots(service, namespace, v.domainOf(v.Datacenter))
	if subset != "" {
		name = dots(subset, name)
	}
	return name
}

// gatewayName ends the server names of all services of a datacenter.
func (v *view) gatewayName(datacenter string) string {
	return dots(datacenter, "internal", v.trustDomain)
}

// domainOf is what comes after a service's namespace.
func (v *view) domainOf(datacenter string) string {
	if v.Partition == "" || v.Partition == defaultName {
		return dots(datacenter, "internal", v.trustDomain)
	}
	return dots(v.Partition, datacenter, "internal-v1", v.trustDomain)
}

// exportName is what a peer calls a service that is exported to it.
func (v *view) exportName(service, namespace, peer string) string {
	partition := v.Partition
	if partition == "" {
		partition = defaultName
	}
	if namespace == "" {
		namespace = defaultName
	}
	return dots(service, namespace, partition, peer, "external", v.trustDomain)
}

// serverName is the name of a Consul server, or without a node of any in the
// datacenter.
func (v *view) serverName(node, datacenter string) string {
	name := dots("server", datacenter, strings.TrimSuffix(v.Domain, "."))
	if node != "" {
		name = dots(node, name)
	}
	return name
}

// peeringName is what the servers of peers call the ones here.
func (v *view) peeringName() string {
	return dots("server", v.Datacenter, "peering", v.trustDomain)
}

func dots(parts ...string) string { return strings.Join(parts, ".") }

// mayCome tells whether a cluster may be missing for no other reason than that a query
// that would bring it was never answered.
func (v *view) mayCome(cluster string) bool {
	for f := range v.fresh {
		if v.brings(f, cluster) {
			return true
		}
	}
	return false
}

// brings tells whether the cluster may be made of the fact. It is for those facts that
// a table may be made without.
func (v *view) brings(f fact, cluster string) bool {
	switch f.kind {
	case aboutGatewayNames, aboutGateways:
		return v.leadsToDatacenter(cluster, f.where)
	case aboutFederation:
		return slices.ContainsFunc(v.datacenters, func(dc string) bool { return v.leadsToDatacenter(cluster, dc) })
	case aboutExports:
		return strings.HasPrefix(cluster, exportedPrefix)
	case aboutChain:
		return strings.HasPrefix(cluster, exportedPrefix) && (strings.Contains(cluster, "~"+f.name+".") || strings.Contains(cluster, "."+f.name+"."))
	case aboutPeerings:
		return v.ofPeer(cluster, importedMark) || v.ofPeer(cluster, ".peering.")
	case aboutImports:
		return v.ofPeer(cluster, importedMark) && strings.HasPrefix(cluster, f.name+".")
	default:
		return false
	}
}

func (v *view) leadsToDatacenter(cluster, dc string) bool {
	return cluster == v.gatewayName(dc) || cluster == v.serverName("", dc)
}

// ofPeer tells whether the name is a peer's: what comes after the mark is its trust
// domain then.
func (v *view) ofPeer(name, mark string) bool {
	_, domain, found := strings.Cut(name, mark)
	return found && domain != v.trustDomain
}
