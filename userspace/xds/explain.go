package xds

import (
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// advice is what is probably the matter when a stream ended with the error, in
// words that say what to do, and empty for what explains itself.
func advice(err error) string {
	var silent *silence
	switch {
	case errors.As(err, &silent) && silent.clusters:
		return "the gateway's service has no address to listen on: its proxy.config has envoy_gateway_no_default_bind and no bind addresses"
	case errors.As(err, &silent):
		return "the agent does not know a gateway of this id: it is misspelled, was deregistered, " +
			"or is registered on another node, which then must be given; or the agent has no leader to ask"
	case errors.Is(err, errStuck):
		return "the agent hangs"
	}
	s, ok := status.FromError(err)
	if !ok {
		return ""
	}
	switch text := s.Message(); s.Code() {
	case codes.Unauthenticated:
		if strings.Contains(text, "must be bootstrapped") {
			return "the agent has just started and cannot look tokens up yet"
		}
		return "the agent does not know the token: it is wrong, expired or deleted; or the token does not see the gateway"
	case codes.PermissionDenied:
		return "the token lacks service:write for the gateway's own service name"
	case codes.ResourceExhausted:
		if strings.Contains(text, "larger than max") {
			return "the mesh is larger than this gateway takes in"
		}
		return "the agent has as many streams as it is allowed, and asks to try another or to come later"
	case codes.Unimplemented:
		return "no Consul agent, or one too old, is at this port; its gRPC port is 8502, and 8503 with TLS"
	case codes.InvalidArgument:
		return "the agent does not understand the request: is it of another kind than Consul, or too old?"
	case codes.Internal:
		if strings.Contains(text, "sidecar proxy or gateway") {
			return "the id is that of a service, not of a mesh gateway"
		}
		return "the agent failed; its log knows more"
	case codes.Aborted:
		return "the agent gave up on the gateway's watches; was its token deleted?"
	case codes.Unavailable:
		return unavailable(text)
	}
	return ""
}

// unavailable looks for the usual mistakes about ports and TLS. The texts are those
// of grpc and crypto/tls, as the tests see them.
func unavailable(text string) string {
	switch {
	case strings.Contains(text, "first record does not look like a TLS handshake"):
		return "the agent's port speaks plain text, and TLS was asked for"
	case strings.Contains(text, "certificate"):
		return "the agent's certificate and the CA or name that was given do not fit, or it wants a client certificate"
	case strings.Contains(text, "server preface"), strings.Contains(text, "frame too large"):
		return "this is not the gRPC port, or it wants TLS"
	case strings.Contains(text, "failed to generate all xDS resources"):
		return "the agent could not make the gateway's configuration; its log knows more"
	case strings.Contains(text, "broken pipe"), strings.Contains(text, "reset by peer"):
		return "the agent broke the connection off; with TLS, it may want a client certificate"
	case strings.Contains(text, "error reading from server"):
		return "the agent stopped, or what is between broke the connection"
	case strings.Contains(text, "connection refused"), strings.Contains(text, "no such file"):
		return "the agent is not running, or has no gRPC port: ports.grpc or ports.grpc_tls"
	}
	return ""
}
