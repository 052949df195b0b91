package modes

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/hashicorp/consul/api"
)

// wish is an upstream of a sidecar. Sidecars of the same service mostly have the same.
type wish struct {
	sidecar string // NODE/ID
	wanted
}

// wanted is what a sidecar wants, and how it was decided.
type wanted struct {
	owner serviceName
	destination
	partition  string // if it names one
	datacenter string // "": its own
	query      bool   // a prepared query
	implicit   bool   // by intentions, or exported by a peer
	others     int    // stands for that many implicit ones that stay here
	protocol   string
	decision   Decision
}

// chainKey is what a discovery chain depends on.
type chainKey struct{ name, namespace, datacenter, protocol string }

func (w *wanted) chain() chainKey {
	return chainKey{w.name, w.namespace, w.datacenter, w.protocol}
}

// chained tells whether the upstream has a discovery chain.
func (w *wanted) chained() bool { return !w.query && w.peer == "" && w.others == 0 }

// explicit are the upstreams that the sidecars' registrations name.
func (r *reader) explicit() []wish {
	var all []wish
	for i := range r.sidecars {
		s := &r.sidecars[i]
		for _, u := range s.proxy.Upstreams {
			if u.CentrallyConfigured || u.DestinationName == "*" {
				continue
			}
			w := wanted{
				owner:       s.owner,
				destination: destination{u.DestinationName, namespace(u.DestinationNamespace, s.owner.namespace), u.DestinationPeer},
				partition:   u.DestinationPartition,
				datacenter:  u.Datacenter,
				query:       u.DestinationType == api.UpstreamDestTypePreparedQuery,
			}
			if w.protocol, _ = u.Config["protocol"].(string); w.protocol == "" {
				w.protocol = s.protocol(w.destination)
			}
			w.decision = nobody // of a query's results none goes through a gateway
			if !w.query {
				w.decision = s.decide(ask{upstream: u.MeshGateway.Mode, instance: s.proxy.MeshGateway.Mode, destination: w.destination})
			}
			all = append(all, wish{s.id, w})
		}
	}
	return all
}

// fetchChains reads the targets of all upstreams that have a discovery chain.
func (r *reader) fetchChains(ctx context.Context, wishes []wish) error {
	var keys []chainKey
	for i := range wishes {
		w := &wishes[i]
		if _, have := r.chains[w.chain()]; w.chained() && !have {
			r.chains[w.chain()] = nil
			keys = append(keys, w.chain())
		}
	}
	return each(ctx, keys, func(ctx context.Context, k chainKey) error {
		q := query(ctx)
		q.Namespace = k.namespace
		// Targets say what they would do by themselves: the caller's mode is not
		// for the agent to work in, but for way.
		a, _, err := r.client.DiscoveryChain().Get(k.name, &api.DiscoveryChainOptions{
			EvaluateInDatacenter: k.datacenter, OverrideProtocol: k.protocol,
		}, q)
		if err != nil {
			return failed("the discovery chain of "+k.name, "service:read on "+k.name, err)
		}
		if a.Chain == nil {
			return fmt.Errorf("read the discovery chain of %s: there is none in the answer", k.name)
		}
		r.mutex.Lock()
		defer r.mutex.Unlock()
		r.chains[k] = targets(a.Chain)
		return nil
	})
}

// ways are the targets of an upstream, without addresses.
func (r *reader) ways(w *wanted) []Way {
	switch {
	case w.query:
		return []Way{{Service: w.name, Datacenter: cmp.Or(w.datacenter, r.here), Decision: w.decision, Through: QueryResults}}
	case w.others > 0:
		return []Way{{Service: w.name, Datacenter: r.here, Decision: w.decision, Through: Sidecars}}
	case w.peer != "":
		return []Way{way(r.here, target{service: w.name, namespace: w.namespace, peer: w.peer}, w.decision)}
	}
	var ways []Way
	for _, t := range r.chains[w.chain()] {
		ways = append(ways, way(r.here, t, w.decision))
	}
	return ways
}

// pool is what a source gave.
type pool struct {
	addresses []string
	healthy   int
	near      []string // instances without an address for other datacenters
	err       error    // why it is not known
}

// fetchPools reads the addresses that the report's ways lead to.
func (r *reader) fetchPools(ctx context.Context, report *Report) error {
	var sources []source
	for w := range report.ways() {
		if _, have := r.pools[w.from]; !have && w.from != (source{}) {
			r.pools[w.from] = nil
			sources = append(sources, w.from)
		}
	}
	err := each(ctx, sources, func(ctx context.Context, s source) error {
		p, err := r.pool(ctx, s)
		if err != nil {
			return err
		}
		r.mutex.Lock()
		defer r.mutex.Unlock()
		r.pools[s] = p
		return nil
	})
	for w := range report.ways() {
		if p := r.pools[w.from]; p != nil {
			w.Addresses, w.Healthy = p.addresses, p.healthy
		}
	}
	return err
}

// pool reads one source. Another datacenter that does not answer is told in the
// pool: there may be no way there, or no such datacenter.
func (r *reader) pool(ctx context.Context, s source) (*pool, error) {
	read := r.instances
	if s.gateways {
		read = r.gateways
	}
	list, err := read(ctx, s)
	if err != nil {
		if ctx.Err() == nil && s.datacenter != r.here && s.peer == "" && !forbidden(err) {
			return &pool{err: err}, nil
		}
		return nil, err
	}
	p := &pool{addresses: []string{}}
	for _, e := range list {
		host, port, far := best(e, s.wan)
		address := net.JoinHostPort(host, strconv.Itoa(port))
		p.addresses = append(p.addresses, address)
		if e.Checks.AggregatedStatus() != api.HealthCritical {
			p.healthy++
		}
		if s.wan && !far {
			p.near = append(p.near, e.Node.Node+"/"+e.Service.ID)
		}
	}
	slices.Sort(p.addresses)
	slices.Sort(p.near)
	return p, nil
}

func (r *reader) instances(ctx context.Context, s source) ([]*api.ServiceEntry, error) {
	q := query(ctx)
	q.Datacenter, q.Namespace, q.Filter, q.Peer = s.datacenter, s.namespace, s.filter, s.peer
	list, meta, err := r.client.Health().Connect(s.service, "", false, q)
	if err != nil {
		return nil, failed(fmt.Sprintf("the sidecars of %s in %s", s.service, cmp.Or(s.peer, s.datacenter)), "service:read on "+s.service, err)
	}
	r.note(meta)
	return list, nil
}

func (r *reader) gateways(ctx context.Context, s source) ([]*api.ServiceEntry, error) {
	names, err := r.names(ctx, s.datacenter, api.ServiceKindMeshGateway)
	if err != nil {
		return nil, err
	}
	var all []*api.ServiceEntry
	for _, name := range names {
		q := query(ctx)
		q.Datacenter = s.datacenter
		q.Filter = kindFilter("Service.Kind", api.ServiceKindMeshGateway)
		list, meta, err := r.client.Health().Service(name, "", false, q)
		if err != nil {
			return nil, failed(fmt.Sprintf("the mesh gateways %s of %s", name, s.datacenter), "service:read on "+name, err)
		}
		r.note(meta)
		all = append(all, list...)
	}
	return all, nil
}
