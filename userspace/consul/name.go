package consul

import "strings"

// Server names are made as Consul makes them (agent/connect/sni.go, and ServerSNI in
// tlsutil/config.go). A partition other than the default one is a part of the name,
// and of its version.

const defaultName = "default" // of the partition and the namespace that everything is in without Consul Enterprise

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
