package consul

import (
	"context"
	"fmt"

	"github.com/hashicorp/consul/api"
)

// GatewayRules is what the token of a mesh gateway must be allowed: to register
// and watch itself, to read every service that it may carry, the nodes they are
// on, and what is exported to peers.
func GatewayRules(service string) string {
	return fmt.Sprintf(`service %q { policy = "write" }
service_prefix "" { policy = "read" }
node_prefix "" { policy = "read" }
agent_prefix "" { policy = "read" }
mesh = "read"
peering = "read"
`, service)
}

// NewToken makes a token with rules of its own and returns its secret, once the
// agent knows it. The name is the policy's, which the mesh must not have yet.
func (a *Agent) NewToken(ctx context.Context, name, rules string) (string, error) {
	acl := a.client.ACL()
	policy, _, err := acl.PolicyCreate(&api.ACLPolicy{Name: name, Rules: rules}, write(ctx))
	if err != nil {
		return "", fmt.Errorf("create policy %s: %w", name, err)
	}
	token, _, err := acl.TokenCreate(&api.ACLToken{
		Description: name,
		Policies:    []*api.ACLLink{{ID: policy.ID}},
	}, write(ctx))
	if err != nil {
		return "", fmt.Errorf("create a token with policy %s: %w", name, err)
	}
	err = a.eventually(ctx, "token "+name, func(ctx context.Context) error {
		q := query(ctx)
		q.Token = token.SecretID
		_, _, err := acl.TokenReadSelf(q)
		return err
	})
	return token.SecretID, err
}

// GatewayToken makes a token that has GatewayRules for the service named.
func (a *Agent) GatewayToken(ctx context.Context, service string) (string, error) {
	return a.NewToken(ctx, "gateway-"+service+"-"+a.Datacenter, GatewayRules(service))
}
