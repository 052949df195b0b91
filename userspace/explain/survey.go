package explain

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// survey is what a table's names tell of the mesh.
type survey struct {
	home    home
	ways    map[string]bool            // other datacenters of the same partition that there is a way to
	domains map[string]bool            // trust domains that some name has
	peers   map[string]map[string]bool // by name, the trust domains that they are named under
	servers map[string]bool            // domains of servers' names
	spaces  map[string]bool            // namespaces of services, "default" among them
}

// defaultName is that of the namespace, and of the partition, that all is in without
// Consul Enterprise.
const defaultName = "default"

// home is where the services are whose instances the gateway itself leads to. Its
// fields are empty in a table that is not Consul's.
type home struct{ datacenter, partition, domain string }

// look reads all names of the table. A table has no field for the datacenter that it
// is of: it is the one that most services have in their names, or else the one whose
// servers are reached without a wildcard.
func look(f *Facts) *survey {
	s := &survey{
		ways: map[string]bool{}, domains: map[string]bool{}, peers: map[string]map[string]bool{},
		servers: map[string]bool{}, spaces: map[string]bool{defaultName: true},
	}
	homes := map[home]int{}
	var ways []home
	for r := range f.Table.Routes() {
		under, wild := strings.CutPrefix(r.Name, "*.")
		n, ok := ParseName(under)
		if !ok {
			continue
		}
		here := home{n.Datacenter, n.Partition, n.Domain}
		switch n.Form {
		case Service:
			s.spaces[n.Namespace] = true
			if !wild {
				homes[here] += 2 // more than the servers' say
			}
		case Peering:
			if r.Name == r.Cluster {
				homes[here]++
			}
		case Datacenter:
			if wild {
				ways = append(ways, here)
			}
		case Peered:
			if s.peers[n.Peer] == nil {
				s.peers[n.Peer] = map[string]bool{}
			}
			s.peers[n.Peer][n.Domain] = true
		case Servers, Server:
			s.servers[n.Domain] = true
			continue
		}
		s.domains[n.Domain] = true
	}
	s.settle(f, homes, ways)
	return s
}

// settle finds home, and from there what lies elsewhere.
func (s *survey) settle(f *Facts, homes map[home]int, ways []home) {
	for h, n := range homes {
		best := homes[s.home]
		if n > best || n == best && cmp.Or(strings.Compare(h.datacenter, s.home.datacenter), strings.Compare(h.domain, s.home.domain)) < 0 {
			s.home = h
		}
	}
	if s.home.domain == "" && len(ways) > 0 {
		w := slices.MinFunc(ways, func(a, b home) int { return strings.Compare(a.domain, b.domain) })
		s.home.domain, s.home.partition = w.domain, w.partition
	}
	s.home.datacenter = cmp.Or(f.Meta.Datacenter, s.home.datacenter)
	s.home.domain = cmp.Or(f.Meta.TrustDomain, s.home.domain)
	for _, w := range ways {
		if w.domain == s.home.domain && w.datacenter != s.home.datacenter {
			s.ways[w.datacenter] = true
		}
	}
}

// isConsul tells whether the table has names of Consul's at all.
func (s *survey) isConsul() bool {
	return s.home.domain != "" || len(s.peers) > 0 || len(s.servers) > 0
}

// parse is ParseName, but what has a server's form by chance is none of Consul's.
func (s *survey) parse(name string) (Name, bool) {
	n, ok := ParseName(name)
	if (n.Form == Servers || n.Form == Server) && n.Domain != "consul" && !s.servers[n.Domain] {
		return Name{}, false
	}
	return n, ok
}

// known are the datacenters that a flow can get to, the one here first.
func (s *survey) known() []string {
	var all []string
	if s.home.datacenter != "" {
		all = append(all, s.home.datacenter)
	}
	return append(all, slices.Sorted(maps.Keys(s.ways))...)
}

// service is the name of a service of this partition.
func (s *survey) service(subset, service, namespace, datacenter string) string {
	return Name{
		Form: Service, Subset: subset, Service: service, Namespace: namespace,
		Partition: s.home.partition, Datacenter: datacenter, Domain: s.home.domain,
	}.String()
}
