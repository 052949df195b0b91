package modes

import (
	"strings"

	"github.com/hashicorp/consul/api"
)

// target is where a discovery chain may lead.
type target struct {
	service, subset, namespace string
	datacenter                 string // "" with a peer
	peer                       string
	filter                     string // of the subset, as health queries take it
	failover                   bool   // only when another target fails
	external                   bool
	mode                       api.MeshGatewayMode // what the service itself, or proxy-defaults, asks for
}

// targets walks a discovery chain from its start: what is called first, and then
// what is called instead, each target once.
func targets(chain *api.CompiledDiscoveryChain) []target {
	w := walk{chain: chain, nodes: map[string]bool{}, met: map[string]bool{}}
	w.node(chain.StartNode)
	for _, id := range w.failover {
		w.target(id, true)
	}
	return w.found
}

type walk struct {
	chain    *api.CompiledDiscoveryChain
	nodes    map[string]bool
	met      map[string]bool
	failover []string
	found    []target
}

func (w *walk) node(name string) {
	node := w.chain.Nodes[name]
	if node == nil || w.nodes[name] {
		return
	}
	w.nodes[name] = true
	for _, r := range node.Routes {
		w.node(r.NextNode)
	}
	for _, s := range node.Splits {
		w.node(s.NextNode)
	}
	if r := node.Resolver; r != nil {
		w.target(r.Target, false)
		if r.Failover != nil {
			w.failover = append(w.failover, r.Failover.Targets...)
		}
	}
}

func (w *walk) target(id string, failover bool) {
	t := w.chain.Targets[id]
	if t == nil || w.met[id] {
		return
	}
	w.met[id] = true
	w.found = append(w.found, target{
		service:    t.Service,
		subset:     t.ServiceSubset,
		namespace:  namespace(t.Namespace, ""),
		datacenter: t.Datacenter,
		peer:       peerOf(t),
		filter:     t.Subset.Filter,
		failover:   failover,
		external:   t.External,
		mode:       t.MeshGateway.Mode,
	})
}

// peerOf is the peer of a target, which the API does not tell but in its id:
// SERVICE.NAMESPACE.PARTITION.external.PEER (structs.ChainID in Consul's source).
func peerOf(t *api.DiscoveryTarget) string {
	if t.Datacenter != "" {
		return ""
	}
	_, peer, _ := strings.Cut(t.ID, ".external.")
	return peer
}
