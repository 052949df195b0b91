package consul

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/hashicorp/consul/api"
)

// maxOps is how many operations Consul takes in one transaction
// (agent/txn_endpoint.go in its source).
const maxOps = 128

// Fill writes services, new ones or changed ones, straight into the catalog, on a
// node that has no agent. To the mesh they are as if they were registered with an
// agent, and thousands of them take seconds, which with an agent take minutes: it
// compares all that it has with the catalog after each registration. Nobody
// checks them: their status is what was written. They have no upstreams, for
// Consul's transactions lose them.
func (a *Agent) Fill(ctx context.Context, node string, services ...Service) error {
	ops := api.TxnOps{{Node: &api.NodeTxnOp{
		Verb: api.NodeSet, Node: api.Node{Node: node, Address: a.Addr.String()},
	}}}
	for _, s := range services {
		if len(s.Upstreams) > 0 {
			return fmt.Errorf("fill node %s: %s has upstreams, which a transaction would lose", node, s.Name)
		}
		more := s.catalogOps(node)
		if len(ops)+len(more) > maxOps {
			if err := a.transact(ctx, ops); err != nil {
				return fmt.Errorf("fill node %s: %w", node, err)
			}
			ops = nil
		}
		ops = append(ops, more...)
	}
	if err := a.transact(ctx, ops); err != nil {
		return fmt.Errorf("fill node %s: %w", node, err)
	}
	return nil
}

// Remove removes what Fill wrote of services.
func (a *Agent) Remove(ctx context.Context, node string, services ...Service) error {
	var ops api.TxnOps
	for i, s := range services {
		for _, op := range s.catalogOps(node) {
			if op.Service != nil {
				op.Service.Verb = api.ServiceDelete // its checks go with it
				ops = append(ops, op)
			}
		}
		if len(ops)+2 > maxOps || i == len(services)-1 {
			if err := a.transact(ctx, ops); err != nil {
				return fmt.Errorf("remove from node %s: %w", node, err)
			}
			ops = nil
		}
	}
	return nil
}

func (a *Agent) transact(ctx context.Context, ops api.TxnOps) error {
	ok, answer, _, err := a.client.Txn().Txn(ops, query(ctx))
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("transaction rolled back: %s", answer.Errors[0].What)
	}
	return nil
}

// catalogOps are what an agent's anti-entropy would write of the service.
func (s Service) catalogOps(node string) api.TxnOps {
	r := s.Registration()
	service := func(r *api.AgentServiceRegistration) *api.TxnOp {
		return &api.TxnOp{Service: &api.ServiceTxnOp{Verb: api.ServiceSet, Node: node, Service: api.AgentService{
			Kind: r.Kind, ID: r.ID, Service: r.Name, Address: r.Address, Port: r.Port,
			Tags: r.Tags, Meta: r.Meta, Weights: *r.Weights, Proxy: r.Proxy,
			TaggedAddresses: taggedAddresses(s.Addr.Addr(), r.Port),
		}}}
	}
	check := func(id, name string) *api.TxnOp {
		return &api.TxnOp{Check: &api.CheckTxnOp{Verb: api.CheckSet, Check: api.HealthCheck{
			Node: node, CheckID: CheckID(id), Name: "ttl", Status: r.Check.Status, ServiceID: id, ServiceName: name,
		}}}
	}
	ops := api.TxnOps{service(r), check(r.ID, r.Name)}
	if r.Connect == nil {
		return ops
	}
	// An agent makes the same of the short form.
	sidecar := r.Connect.SidecarService
	sidecar.Kind = api.ServiceKindConnectProxy
	sidecar.ID, sidecar.Name = SidecarID(r.ID), r.Name+"-sidecar-proxy"
	sidecar.Tags, sidecar.Meta = r.Tags, r.Meta
	sidecar.Proxy.DestinationServiceName = r.Name
	sidecar.Proxy.DestinationServiceID = r.ID
	sidecar.Proxy.LocalServicePort = r.Port
	return append(ops, service(sidecar), check(sidecar.ID, sidecar.Name))
}

// taggedAddresses are those that an agent adds by itself.
func taggedAddresses(addr netip.Addr, port int) map[string]api.ServiceAddress {
	family := "ipv4"
	if addr.Is6() {
		family = "ipv6"
	}
	a := api.ServiceAddress{Address: addr.String(), Port: port}
	return map[string]api.ServiceAddress{"lan_" + family: a, "wan_" + family: a}
}
