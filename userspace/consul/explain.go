package consul

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
)

// right is what a token must be allowed for a fact. Consul refuses some of these,
// and answers others with less than there is.
func right(k kind) string {
	switch k {
	case aboutInstances, aboutNames, aboutServers, aboutGateways, aboutGatewayNames, aboutFederation, aboutChain, aboutResolvers, aboutImports:
		return `service_prefix "" { policy = "read" } and node_prefix "" { policy = "read" }`
	case aboutExports:
		return `mesh = "read"`
	case aboutPeerings:
		return `peering = "read"`
	default:
		return ""
	}
}

// advice is what is probably the matter when a query failed with the error, in words
// that say what to do, and empty for what explains itself.
func advice(f fact, err error) string {
	text := err.Error()
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch code := statusOf(err); {
	case code == http.StatusForbidden && strings.Contains(text, "ACL not found"):
		return "the agent does not know the token: it is wrong, expired or deleted"
	case code == http.StatusForbidden && right(f.kind) != "":
		return "the token lacks " + right(f.kind)
	case code == http.StatusForbidden:
		return "the token lacks a right"
	case code == http.StatusTooManyRequests:
		return "the agent allows fewer connections than the gateway makes (limits.http_max_conns_per_client), or limits its rate: use HTTPS or -source xds"
	case strings.Contains(text, "No cluster leader"):
		return "the datacenter's servers have no leader"
	case strings.Contains(text, "No path to datacenter"), strings.Contains(text, "Remote DC has no server currently reachable"):
		return "servers here cannot reach those of the other datacenter"
	case strings.Contains(text, "must be bootstrapped"):
		return "the agent has just started and cannot look tokens up yet"
	case code != 0:
		return ""
	case errors.Is(err, errNoLeader):
		return "it has just started, or is cut off"
	case errors.As(err, &syntax), errors.As(err, &kind), errors.Is(err, io.ErrUnexpectedEOF):
		return "what answers is not a Consul agent, or it was cut off"
	case strings.Contains(text, "gave HTTP response to HTTPS client"):
		return "the agent's port speaks plain HTTP, and TLS was asked for"
	case strings.Contains(text, "malformed HTTP response"):
		return "the agent's port wants TLS"
	case strings.Contains(text, "certificate"):
		return "the agent's certificate and the CA or name that was given do not fit, or it wants a client certificate"
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return "the agent is not running"
	case errors.Is(err, context.DeadlineExceeded):
		return "the agent hangs, or the way to it is cut"
	}
	return ""
}
