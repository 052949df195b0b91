package doctor

import (
	"context"
	"errors"
	"net/http"

	"github.com/hashicorp/consul/api"

	"sluice/userspace/registration"
)

// right is one that the gateway's token should have, and how to tell: by a request that
// needs it and changes nothing.
type right struct {
	name  string
	check func(m *Mesh, ctx context.Context) Line
}

// rights are those of the policy in README.md, in its order.
var rights = []right{
	{"service:write", (*Mesh).writeService},
	{"service:read", (*Mesh).readServices},
	{"node:read", (*Mesh).readNodes},
	{"agent:read", (*Mesh).readAgent},
	{"mesh:read", (*Mesh).readMesh},
	{"peering:read", (*Mesh).readPeerings},
}

// stranger is a service that there is not.
const stranger = "sluice-check-of-a-service-that-nobody-has"

// lacks is a line about a right that is missing.
func lacks(level Level, rule, found string) Line {
	return Bad(level, "", "in the token's policy: "+rule, "missing: %s", found)
}

// untold is a line about one that could not be told.
func untold(err error) Line { return Bad(Warn, "", advice(err), "cannot be told: %s", brief(err)) }

// writeService asks whether a stranger may call the gateway's service, which is for those
// to ask who may write it (agent/agent_endpoint.go in Consul's source).
func (m *Mesh) writeService(ctx context.Context) Line {
	name := m.serviceName(ctx)
	if name == "" {
		return Bad(Warn, "", "see the line about the gateway", "cannot be told: it is not known which service is the gateway's")
	}
	_, err := m.Agent.API().Agent().ConnectAuthorize(&api.AgentAuthorizeParams{
		Target:        name,
		ClientCertURI: "spiffe://11111111-2222-3333-4444-555555555555.consul/ns/default/dc/dc1/svc/" + stranger,
	})
	switch {
	case denied(err):
		return lacks(Fail, `service "`+name+`" { policy = "write" }`, "the gateway cannot register, nor be asked for by xDS")
	case err != nil && status(err) != http.StatusBadRequest: // which comes after the right was looked at
		return untold(err)
	}
	return Good("", "for %q", name)
}

// serviceName is the name of the gateway's service, "" if that is not known.
func (m *Mesh) serviceName(ctx context.Context) string {
	if m.Service.Service != "" {
		return m.Service.Service
	}
	if m.Service.Register {
		return registration.DefaultService
	}
	if s, err := m.find(ctx); err == nil {
		return s.Service
	}
	return ""
}

func (m *Mesh) readServices(ctx context.Context) Line {
	const rule = `service_prefix "" { policy = "read" }`
	// No service has this name; the agent looks at the rights before that.
	q := query(ctx)
	q.Filter = `ServiceName == ""`
	_, meta, err := m.Agent.API().Catalog().Services(q)
	if err != nil && !denied(err) {
		return untold(err)
	}
	hidden := err != nil || meta.ResultsFilteredByACLs
	// A service's resolver is for those to see who see the service.
	_, _, err = m.Agent.API().ConfigEntries().Get(api.ServiceResolver, stranger, query(ctx))
	switch {
	case denied(err) && hidden:
		return lacks(Fail, rule, "there are services that the token does not see: they have no route")
	case denied(err):
		return lacks(Warn, rule, "the token sees all services of today, but not others that may come")
	case hidden && m.hidesNodes(ctx): // services without a node are hidden, too
		return Good("", "on all, but not on all nodes")
	case hidden:
		return Bad(Warn, "", "in the token's policies: no deny for what the gateway is to serve",
			"on most, but a rule hides some services: they have no route")
	case err != nil && status(err) != http.StatusNotFound:
		return untold(err)
	}
	return Good("", "on all")
}

func (m *Mesh) readNodes(ctx context.Context) Line {
	hidden, err := m.nodes(ctx)
	switch {
	case err != nil:
		return untold(err)
	case hidden:
		return lacks(Fail, `node_prefix "" { policy = "read" }`, "there are nodes that the token does not see: what is on them has no route")
	}
	return Good("", "on all")
}

// nodes tells whether there are some that the token does not see.
func (m *Mesh) nodes(ctx context.Context) (hidden bool, err error) {
	q := query(ctx)
	q.Filter = `Node == ""`
	_, meta, err := m.Agent.API().Catalog().Nodes(q)
	if denied(err) {
		return true, nil
	}
	return err == nil && meta.ResultsFilteredByACLs, err
}

func (m *Mesh) hidesNodes(ctx context.Context) bool {
	hidden, err := m.nodes(ctx)
	return err == nil && hidden
}

func (m *Mesh) readAgent(context.Context) Line {
	if m.met.selfDenied {
		return lacks(Warn, `agent_prefix "" { policy = "read" }`,
			"the agent does not tell its gRPC port, taken to be 8502, nor its domain, taken to be consul")
	}
	return Good("", "on %s", m.met.self.Config.NodeName)
}

func (m *Mesh) readMesh(ctx context.Context) Line {
	_, _, err := m.Agent.API().ExportedServices(query(ctx))
	switch {
	case denied(err):
		return m.catalogOnly(`mesh = "read"`, "services exported to peers")
	case status(err) == http.StatusNotFound:
		return Good("", "not needed: this Consul has no list of exported services")
	case err != nil:
		return untold(err)
	}
	return Good("", "granted")
}

// readPeerings takes ten seconds when the right is missing: the agent tries again and
// again before it says no.
func (m *Mesh) readPeerings(ctx context.Context) Line {
	if m.Source == "xds" {
		return Good("", "not needed with -source xds, and so not asked for")
	}
	_, _, err := m.Agent.API().Peerings().List(ctx, query(ctx))
	switch {
	case denied(err):
		return m.catalogOnly(`peering = "read"`, "services of peers")
	case errors.Is(err, context.DeadlineExceeded):
		return Bad(Warn, "", "a longer -timeout; or in the token's policy: peering = \"read\"",
			"cannot be told in time; an agent takes ten seconds to say that it is missing")
	case err != nil:
		return untold(err)
	}
	return Good("", "granted")
}

// catalogOnly is a line about a right that only the catalog as a source needs.
func (m *Mesh) catalogOnly(rule, what string) Line {
	switch m.Source {
	case "xds":
		return Good("", "not granted, and not needed with -source xds")
	case "catalog":
		return lacks(Fail, rule, what+" have no route")
	}
	return lacks(Warn, rule, "were xDS not there at a start, so that routes come from the catalog, "+what+" would have none")
}
