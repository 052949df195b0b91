package consul

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/consul/api"
)

// WaitLeader waits until the agent's datacenter has a leader.
func (a *Agent) WaitLeader(ctx context.Context) error {
	return a.eventually(ctx, "a leader", func(ctx context.Context) error {
		leader, err := a.client.Status().LeaderWithQueryOptions(query(ctx))
		if err == nil && leader == "" {
			err = errors.New("there is none")
		}
		return err
	})
}

// WaitHealthy waits until the agent can be used: its datacenter has a leader that
// counts the agent's node among the living, knows its token, and has a CA for the
// mesh.
func (a *Agent) WaitHealthy(ctx context.Context) error {
	if err := a.WaitLeader(ctx); err != nil {
		return err
	}
	err := a.eventually(ctx, "its node to be healthy", func(ctx context.Context) error {
		checks, _, err := a.client.Health().Node(a.Node, query(ctx))
		if err != nil {
			return err
		}
		// Those of services are critical after a restart, until they are set again.
		checks = slices.DeleteFunc(checks, func(c *api.HealthCheck) bool { return c.ServiceID != "" })
		if status := checks.AggregatedStatus(); len(checks) == 0 || status != api.HealthPassing {
			return fmt.Errorf("%d checks, %s", len(checks), status)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := a.waitRights(ctx); err != nil {
		return err
	}
	return a.eventually(ctx, "the mesh's CA", func(ctx context.Context) error {
		_, err := a.Roots(ctx)
		return err
	})
}

// managementPolicy is the built-in one, of Consul's structs.ACLPolicyGlobalManagementID.
const managementPolicy = "00000000-0000-0000-0000-000000000001"

// waitRights waits until what the token may do is known: a secondary datacenter may have
// copied the token before its policy.
func (a *Agent) waitRights(ctx context.Context) error {
	if a.Token == "" {
		return nil
	}
	return a.eventually(ctx, "what the token may do", func(ctx context.Context) error {
		_, _, err := a.client.ACL().PolicyRead(managementPolicy, query(ctx))
		return err
	})
}

// WaitFederated waits until the agent can read the catalog of each datacenter
// named.
func (a *Agent) WaitFederated(ctx context.Context, datacenters ...string) error {
	return a.eventually(ctx, fmt.Sprintf("the catalogs of %v", datacenters), func(ctx context.Context) error {
		for _, dc := range datacenters {
			q := query(ctx)
			q.Datacenter = dc
			if _, _, err := a.client.Catalog().Nodes(q); err != nil {
				return fmt.Errorf("read the catalog of %s: %w", dc, err)
			}
		}
		return nil
	})
}

// eventually waits until is returns no error.
func (a *Agent) eventually(ctx context.Context, what string, is func(context.Context) error) error {
	process := a.process.Load()
	err := eventually(ctx, process, is)
	if err != nil {
		return fmt.Errorf("consul agent %s: wait for %s: %w\nThe end of its log:\n%s", a.Node, what, err, process.tail())
	}
	return nil
}

// eventually waits until is returns no error, or the process ends.
func eventually(ctx context.Context, p *process, is func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	for {
		last := is(ctx)
		if last == nil {
			return nil
		}
		if err := p.dead(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %v", context.Cause(ctx), last)
		case <-p.ended:
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// query is the options of a query that ends with the context.
func query(ctx context.Context) *api.QueryOptions {
	return new(api.QueryOptions).WithContext(ctx)
}

// write is the same for what changes something.
func write(ctx context.Context) *api.WriteOptions {
	return new(api.WriteOptions).WithContext(ctx)
}
