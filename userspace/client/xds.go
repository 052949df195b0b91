package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/hashicorp/consul/api"
)

// ErrNoGRPC is of an agent that does not serve gRPC, and so no xDS.
var ErrNoGRPC = errors.New("the agent does not serve gRPC")

// usualGRPC is where gRPC is taken to be if the agent may not be asked.
const usualGRPC = 8502

// XDS tells where the agent serves xDS, "host:port" or "unix:///path", and how TLS
// is spoken there, nil for plain text. It is what the settings say, or else what the
// agent says of itself; and if the token has no right to ask it (agent:read), port
// 8502. The error is ErrNoGRPC if the agent has none, and otherwise of the request.
func (a *Agent) XDS(ctx context.Context) (address string, config *tls.Config, err error) {
	address, encrypted := a.grpc, a.grpcTLS
	if address == "" {
		if address, encrypted, err = a.ask(ctx); err != nil {
			return "", nil, fmt.Errorf("ask the agent at %s for its gRPC port: %w", a, err)
		}
	}
	if !encrypted {
		return address, nil, nil
	}
	return address, a.config.Clone(), nil
}

// self is what the agent says of its ports. One that is off is -1 or 0.
type self struct {
	XDS struct { // Consul 1.14 and later
		Ports struct{ Plaintext, TLS int }
	} `json:"xDS"`
	DebugConfig struct{ GRPCPort int }
}

func (a *Agent) ask(ctx context.Context) (address string, encrypted bool, err error) {
	at := func(port int) string {
		return net.JoinHostPort(a.address.hostname(), strconv.Itoa(port))
	}
	var s self
	_, err = a.api.Raw().Query("/v1/agent/self", &s, new(api.QueryOptions).WithContext(ctx))
	if denied(err) {
		return at(usualGRPC), false, nil
	}
	if err != nil {
		return "", false, err
	}
	plain := max(s.XDS.Ports.Plaintext, s.DebugConfig.GRPCPort)
	// Servers have a TLS port even without certificates of their own, for peering, and
	// what they show there is not to be verified with any CA on disk.
	unverifiable := a.config.RootCAs == nil && !a.config.InsecureSkipVerify && !a.TLS()
	switch port := s.XDS.Ports.TLS; {
	case port > 0 && (plain <= 0 || !unverifiable):
		return at(port), true, nil
	case plain > 0:
		return at(plain), false, nil
	}
	return "", false, ErrNoGRPC
}

// denied tells whether the token lacks a right. A token that the agent does not know
// has the same status, and is an error.
func denied(err error) bool {
	var status api.StatusError
	return errors.As(err, &status) && status.Code == http.StatusForbidden && strings.Contains(status.Body, "Permission denied")
}
