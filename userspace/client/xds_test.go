package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"
)

// saying is an agent that says this of itself.
func saying(status int, self string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/agent/self" {
			status = http.StatusNotFound
		}
		w.WriteHeader(status)
		fmt.Fprint(w, self)
	}
}

// ports is agent/self of Consul 1.14 and later.
func ports(plain, tls int) string {
	return fmt.Sprintf(`{"Config":{"Datacenter":"dc1"},"DebugConfig":{"GRPCPort":%[1]d,"GRPCTLSPort":%[2]d},
		"xDS":{"SupportedProxies":{"envoy":["1.34.1"]},"Port":%[2]d,"Ports":{"Plaintext":%[1]d,"TLS":%[2]d}}}`, plain, tls)
}

func TestXDSOfAgent(t *testing.T) {
	ca := newAuthority(t)
	caFile := ca.write(t, t.TempDir())
	for _, test := range []struct {
		name   string
		status int
		self   string
		set    Settings
		https  bool
		port   string // "tls" in front if it has TLS
		want   string // in the error
	}{
		{name: "plain", self: ports(8502, -1), port: "8502"},
		{name: "plain with a CA", self: ports(8502, -1), set: Settings{CAFile: caFile}, port: "8502"},
		{name: "plain beside HTTPS", self: ports(9502, 0), https: true, port: "9502"},
		{name: "TLS", self: ports(-1, 8503), set: Settings{CAFile: caFile}, port: "tls 8503"},
		{name: "TLS alone, and no CA", self: ports(-1, 8503), port: "tls 8503"},
		{name: "both with a CA", self: ports(8502, 8503), set: Settings{CAFile: caFile}, port: "tls 8503"},
		{name: "both with a CA for gRPC", self: ports(8502, 8503), set: Settings{GRPCCAFile: caFile}, port: "tls 8503"},
		{name: "both beside HTTPS", self: ports(8502, 8503), https: true, port: "tls 8503"},
		{name: "both, and no verifying", self: ports(8502, 8503), set: Settings{SkipVerify: true}, port: "tls 8503"},
		{name: "both, and no CA", self: ports(8502, 8503), port: "8502"},
		{name: "Consul 1.13", self: `{"DebugConfig":{"GRPCPort":8502},"xDS":{"Port":8502}}`, port: "8502"},
		{name: "Consul 1.10", self: `{"DebugConfig":{"GRPCPort":8502}}`, port: "8502"},
		{name: "no gRPC", self: `{"DebugConfig":{"GRPCPort":-1}}`, want: ErrNoGRPC.Error()},
		{name: "no right to ask", status: 403, self: "Permission denied: token with AccessorID 'x' lacks permission 'agent:read' on \"n\"", port: "8502"},
		{name: "unknown token", status: 403, self: "ACL not found", want: "ACL not found"},
		{name: "no good", status: 500, self: "No cluster leader", want: "No cluster leader"},
		{name: "not Consul", self: "<html>", want: "invalid character '<'"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := saying(max(test.status, 200), test.self)
			var s *httptest.Server
			if test.https {
				s = serveTLS(t, ca, "127.0.0.1", h, nil)
				test.set.CAFile = caFile
			} else {
				s = serve(t, h)
			}
			test.set.HTTPAddr = s.URL
			address, config, err := agent(t, test.set).XDS(t.Context())
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), s.URL) {
					t.Errorf("got %v, want %s", err, test.want)
				}
				if errors.Is(err, ErrNoGRPC) != (test.want == ErrNoGRPC.Error()) {
					t.Errorf("got %v", err)
				}
				return
			}
			port, encrypted := strings.CutPrefix(test.port, "tls ")
			if err != nil || address != "127.0.0.1:"+port || (config != nil) != encrypted {
				t.Errorf("got %s, TLS %t, want %s (error: %v)", address, config != nil, test.port, err)
			}
		})
	}
}

func TestXDSBySettings(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	caFile, otherFile := ca.write(t, t.TempDir()), other.write(t, t.TempDir())
	for _, test := range []struct {
		set    Settings
		want   string
		tls    bool
		verify *authority // whose certificates are good; nil: the system's
	}{
		{Settings{GRPCAddr: "127.0.0.1:8502", CAFile: caFile}, "127.0.0.1:8502", false, nil},
		{Settings{GRPCAddr: "https://127.0.0.1:8503"}, "127.0.0.1:8503", true, nil},
		{Settings{GRPCAddr: "https://127.0.0.1:8503", CAFile: caFile}, "127.0.0.1:8503", true, ca},
		{Settings{GRPCAddr: "https://127.0.0.1:8503", CAFile: caFile, GRPCCAFile: otherFile}, "127.0.0.1:8503", true, other},
		{Settings{GRPCAddr: "https://127.0.0.1:8503", CAFile: caFile, GRPCCAPath: filepath.Dir(otherFile)}, "127.0.0.1:8503", true, other},
		{Settings{GRPCAddr: "unix:///run/grpc.sock", CAFile: caFile}, "unix:///run/grpc.sock", false, nil},
		{Settings{GRPCAddr: "unix:///run/grpc.sock", GRPCCAFile: caFile}, "unix:///run/grpc.sock", true, ca},
	} {
		test.set.TLSServerName = "server.dc1.consul"
		address, config, err := agent(t, test.set).XDS(t.Context())
		if err != nil || address != test.want || (config != nil) != test.tls {
			t.Errorf("%+v: got %s, TLS %t (error: %v)", test.set, address, config != nil, err)
			continue
		}
		if !test.tls {
			continue
		}
		same := config.RootCAs == nil && test.verify == nil || test.verify != nil && config.RootCAs.Equal(test.verify.pool())
		if !same || config.ServerName != "server.dc1.consul" {
			t.Errorf("%+v: server name %s, other CAs: %t", test.set, config.ServerName, !same)
		}
	}
}

// TestXDSOverUnixSocket: there is no host to look for gRPC at, but this one.
func TestXDSOverUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "http.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: saying(http.StatusOK, ports(8502, -1))}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	if address, config, err := agent(t, Settings{HTTPAddr: "unix://" + path}).XDS(t.Context()); address != "127.0.0.1:8502" || config != nil || err != nil {
		t.Errorf("got %s, TLS %t (error: %v)", address, config != nil, err)
	}
}

func TestXDSIsBounded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	a := agent(t, Settings{HTTPAddr: serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})).URL})
	if _, _, err := a.XDS(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestDenied(t *testing.T) {
	if denied(nil) || denied(errors.New("Permission denied")) || !denied(fmt.Errorf("x: %w", api.StatusError{Code: 403, Body: "Permission denied"})) {
		t.Error("denied is 403 with these words")
	}
}
