package client

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/hashicorp/consul/api"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"sluice/scripts/consul"
	"sluice/scripts/consul/consultest"
)

// TestConsul reaches a real agent in each of the ways it has.
func TestConsul(t *testing.T) {
	c := consultest.Start(t, consul.OneServer, consul.Settings{ACL: true, TLS: true})
	agentOf := c.Agents[0]
	ctx, cancel := context.WithTimeout(t.Context(), consul.Patience)
	defer cancel()

	t.Run("as its programs are told", func(t *testing.T) {
		env := map[string]string{"CONSUL_HTTP_TOKEN": c.Token}
		for _, e := range agentOf.Env() {
			name, value, _ := strings.Cut(e, "=")
			env[name] = value
		}
		s, err := settings(t, given{env: env})
		if err != nil {
			t.Fatal(err)
		}
		a := agent(t, *s)
		read(t, ctx, a)
		if !a.TLS() {
			t.Error("not over TLS")
		}
		reachXDS(t, ctx, a, agentOf.GRPCTLS(), true)
	})
	t.Run("HTTPS alone", func(t *testing.T) {
		a := agent(t, Settings{HTTPAddr: "https://" + agentOf.HTTPS(), CAFile: agentOf.CAFile(), Token: c.Token})
		read(t, ctx, a)
		reachXDS(t, ctx, a, agentOf.GRPCTLS(), true)
		shares(t, ctx, a)
	})
	t.Run("plain", func(t *testing.T) {
		a := agent(t, Settings{HTTPAddr: agentOf.HTTP(), Token: c.Token})
		read(t, ctx, a)
		reachXDS(t, ctx, a, agentOf.GRPC(), false)
	})
	t.Run("token that may not ask the agent", func(t *testing.T) {
		token, err := agentOf.NewToken(ctx, "nobody", `service "x" { policy = "read" }`)
		if err != nil {
			t.Fatal(err)
		}
		path := write(t, filepath.Join(t.TempDir(), "token"), token+"\n")
		a := agent(t, Settings{HTTPAddr: agentOf.HTTP(), TokenFile: path})
		reachXDS(t, ctx, a, agentOf.GRPC(), false)
		write(t, path, c.Token)
		read(t, ctx, a)
	})
	t.Run("unknown token", func(t *testing.T) {
		a := agent(t, Settings{HTTPAddr: agentOf.HTTP(), Token: "00000000-0000-0000-0000-000000000001"})
		var status api.StatusError
		if _, _, err := a.XDS(ctx); !errors.As(err, &status) || status.Code != http.StatusForbidden {
			t.Errorf("got %v", err)
		}
	})
}

// read asks for what the token is needed for.
func read(t *testing.T, ctx context.Context, a *Agent) {
	t.Helper()
	nodes, _, err := a.API().Catalog().Nodes(new(api.QueryOptions).WithContext(ctx))
	if err != nil || len(nodes) == 0 {
		t.Errorf("%d nodes (error: %v)", len(nodes), err)
	}
}

// shares makes more blocking queries than an agent allows connections.
func shares(t *testing.T, ctx context.Context, a *Agent) {
	t.Helper()
	_, meta, err := a.API().Catalog().Services(new(api.QueryOptions).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	const queries = 400
	answers := make(chan error, queries)
	for range queries {
		go func() {
			q := &api.QueryOptions{WaitIndex: meta.LastIndex, WaitTime: 2 * time.Second}
			_, _, err := a.API().Catalog().Services(q.WithContext(ctx))
			answers <- err
		}()
	}
	for range queries {
		if err := <-answers; err != nil {
			t.Fatal(err)
		}
	}
}

// reachXDS opens a stream to where the agent says that xDS is.
func reachXDS(t *testing.T, ctx context.Context, a *Agent, want string, encrypted bool) {
	t.Helper()
	address, config, err := a.XDS(ctx)
	if err != nil || address != want || (config != nil) != encrypted {
		t.Fatalf("xDS at %s, TLS %t, want %s (error: %v)", address, config != nil, want, err)
	}
	creds := insecure.NewCredentials()
	if config != nil {
		creds = credentials.NewTLS(config)
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(creds), grpc.WithNoProxy())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ads := discoveryv3.NewAggregatedDiscoveryServiceClient(conn)
	if _, err := ads.DeltaAggregatedResources(ctx, grpc.WaitForReady(true)); err != nil {
		t.Error(err)
	}
}
