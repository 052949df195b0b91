package explain

import "strings"

// Form is what a server name that Consul makes stands for.
type Form string

// The forms, and how Consul makes them (agent/connect/sni.go, PeeringServerSAN in
// agent/connect/uri_server.go, ServerSNI in tlsutil/config.go). TD is the trust domain
// of the cluster; what is in brackets may be absent; a partition other than "default"
// comes before the datacenter, and makes "internal" to "internal-v1".
const (
	Service    Form = "service"         // [SUBSET.]SERVICE.NAMESPACE.DC.internal.TD
	Datacenter Form = "datacenter"      // DC.internal.TD, and *.DC.internal.TD for all in it
	Peered     Form = "peered service"  // SERVICE.NAMESPACE.PARTITION.PEER.external.TD
	Servers    Form = "servers"         // server.DC.DOMAIN, and *.server.DC.DOMAIN for each
	Server     Form = "server"          // NODE.server.DC.DOMAIN
	Peering    Form = "peering servers" // server.DC.peering.TD
	Query      Form = "prepared query"  // QUERY.default.DC.query.TD
)

// Name is a server name in one of Consul's forms. What its form does not have is empty.
type Name struct {
	Form       Form   `json:"form"`
	Subset     string `json:"subset,omitempty"`
	Service    string `json:"service,omitempty"` // or the prepared query
	Namespace  string `json:"namespace,omitempty"`
	Partition  string `json:"partition,omitempty"` // empty: the default one, but for Peered, which always has it
	Datacenter string `json:"datacenter,omitempty"`
	Peer       string `json:"peer,omitempty"`
	Node       string `json:"node,omitempty"` // may have dots
	Domain     string `json:"domain"`         // the trust domain; of servers, the domain of Consul's DNS
}

// maxMarked is how many labels the longest form has up to its mark, such as
// "internal": SUBSET.SERVICE.NAMESPACE.PARTITION.DC.internal-v1.
const maxMarked = 6

// ParseName tells the form of a server name in lower case. It is false for what has
// none of the forms. Other names can have the form of a server's by chance, since that
// has no mark but the label "server".
func ParseName(name string) (Name, bool) {
	var l [maxMarked]string
	var rest [maxMarked]string // what comes after each label
	n := 0
	for tail, more := name, true; more && n < len(l); n++ {
		l[n], tail, more = strings.Cut(tail, ".")
		if l[n] == "" {
			return Name{}, false
		}
		rest[n] = tail
	}
	for i := n - 1; i > 0; i-- {
		if rest[i] == "" {
			continue
		}
		if parsed, ok := marked(l[:i], l[i]); ok {
			parsed.Domain = rest[i]
			return parsed, true
		}
	}
	return parseServer(name)
}

// marked tells the form of a name by its mark and the labels before it.
func marked(l []string, mark string) (Name, bool) {
	switch n := len(l); {
	case mark == "internal" && n == 1:
		return Name{Form: Datacenter, Datacenter: l[0]}, true
	case mark == "internal" && n == 3:
		return Name{Form: Service, Service: l[0], Namespace: l[1], Datacenter: l[2]}, true
	case mark == "internal" && n == 4:
		return Name{Form: Service, Subset: l[0], Service: l[1], Namespace: l[2], Datacenter: l[3]}, true
	case mark == "internal-v1" && n == 2:
		return Name{Form: Datacenter, Partition: l[0], Datacenter: l[1]}, true
	case mark == "internal-v1" && n == 4:
		return Name{Form: Service, Service: l[0], Namespace: l[1], Partition: l[2], Datacenter: l[3]}, true
	case mark == "internal-v1" && n == 5:
		return Name{Form: Service, Subset: l[0], Service: l[1], Namespace: l[2], Partition: l[3], Datacenter: l[4]}, true
	case mark == "external" && n == 4:
		return Name{Form: Peered, Service: l[0], Namespace: l[1], Partition: l[2], Peer: l[3]}, true
	case mark == "query" && n == 3:
		return Name{Form: Query, Service: l[0], Namespace: l[1], Datacenter: l[2]}, true
	case mark == "peering" && n == 2 && l[0] == "server":
		return Name{Form: Peering, Datacenter: l[1]}, true
	}
	return Name{}, false
}

// parseServer is for the names of Consul's servers. A node's name may have dots in it.
func parseServer(name string) (Name, bool) {
	out, tail := Name{Form: Servers}, ""
	if after, ok := strings.CutPrefix(name, "server."); ok {
		tail = after
	} else if i := strings.Index(name, ".server."); i > 0 {
		out.Form, out.Node, tail = Server, name[:i], name[i+len(".server."):]
	}
	out.Datacenter, out.Domain, _ = strings.Cut(tail, ".")
	if out.Datacenter == "" || out.Domain == "" {
		return Name{}, false
	}
	return out, true
}

// whole is the name of the service that a subset is of.
func (n Name) whole() string {
	n.Subset = ""
	return n.String()
}

// String is the name as Consul makes it.
func (n Name) String() string {
	var l []string
	add := func(labels ...string) {
		for _, label := range labels {
			if label != "" {
				l = append(l, label)
			}
		}
	}
	mark := "internal"
	if n.Partition != "" {
		mark = "internal-v1"
	}
	switch n.Form {
	case Service, Datacenter:
		add(n.Subset, n.Service, n.Namespace, n.Partition, n.Datacenter, mark)
	case Peered:
		add(n.Service, n.Namespace, n.Partition, n.Peer, "external")
	case Query:
		add(n.Service, n.Namespace, n.Datacenter, "query")
	case Peering:
		add("server", n.Datacenter, "peering")
	case Servers, Server:
		add(n.Node, "server", n.Datacenter)
	}
	add(n.Domain)
	return strings.Join(l, ".")
}
