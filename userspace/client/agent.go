package client

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"

	"github.com/hashicorp/consul/api"
)

// Agent is an agent of Consul, and how it is reached. It is for any number of
// goroutines.
type Agent struct {
	address httpAddress
	token   *token
	http    *http.Client
	api     *api.Client

	grpc    string // where gRPC is, if the settings say that
	grpcTLS bool
	config  *tls.Config // of gRPC
}

// Agent checks the settings and returns the agent that they describe, without
// connecting to it. Errors name the setting and the file.
func (s *Settings) Agent() (*Agent, error) {
	a := &Agent{}
	var err error
	if a.address, err = parseHTTP(s.HTTPAddr, s.SSL); err != nil {
		return nil, fmt.Errorf("http-addr %q: %w", s.HTTPAddr, err)
	}
	if s.GRPCAddr != "" {
		haveCA := s.GRPCCAFile != "" || s.GRPCCAPath != ""
		if a.grpc, a.grpcTLS, err = parseGRPC(s.GRPCAddr, haveCA); err != nil {
			return nil, fmt.Errorf("grpc-addr %q: %w", s.GRPCAddr, err)
		}
	}
	if a.token, err = newToken(s.token()); err != nil {
		return nil, err
	}
	var config *tls.Config
	if config, a.config, err = s.tlsConfigs(); err != nil {
		return nil, err
	}
	a.http = &http.Client{
		Transport: &bearer{a.token, newTransport(a.address.socket, config)},
		// No answer of the API is a redirection, and a token is not for other hosts.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if a.api, err = s.client(a); err != nil {
		return nil, fmt.Errorf("make a client of the agent's HTTP: %w", err)
	}
	return a, nil
}

// API is a client of the agent's HTTP, with the current token on each request that
// has none of its own. It has no limit of its own on a request's time, as the agent
// answers blocking queries when it likes to: the request's context is the limit.
func (a *Agent) API() *api.Client { return a.api }

// Token is the current token, empty for none. One of a file is read again when the
// file changes; while it cannot be read, the last good one stays, and TokenProblem
// says why.
func (a *Agent) Token() (string, error) {
	value, _ := a.token.current()
	return value, nil
}

// TokenProblem tells why the token is not what its file has now: the file is gone,
// empty, or has no token in it. It is nil if all is well.
func (a *Agent) TokenProblem() error {
	_, problem := a.token.current()
	return problem
}

// TLS tells whether HTTP is spoken to over TLS. An agent speaks HTTP/2 there, in
// which blocking queries share few connections.
func (a *Agent) TLS() bool { return a.address.tls }

// String is the address of the agent's HTTP, for logs.
func (a *Agent) String() string {
	if a.address.socket != "" {
		return "unix://" + a.address.socket
	}
	return a.address.scheme() + "://" + a.address.host + a.address.prefix
}

func (a httpAddress) scheme() string {
	if a.tls {
		return "https"
	}
	return "http"
}

// client makes the client of a's HTTP.
func (s *Settings) client(a *Agent) (*api.Client, error) {
	c := &api.Config{
		Address:    a.address.host,
		Scheme:     a.address.scheme(), // NewClient takes what is empty from the environment
		PathPrefix: a.address.prefix,
		Namespace:  s.Namespace,
		Partition:  s.Partition,
		Token:      currentToken,
		HttpClient: a.http,
	}
	if s.HTTPAuth != "" {
		user, password, _ := strings.Cut(s.HTTPAuth, ":")
		c.HttpAuth = &api.HttpBasicAuth{Username: user, Password: password}
	}
	return api.NewClient(c)
}
