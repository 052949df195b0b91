package consul_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"sluice/scripts/consul"
	"sluice/scripts/consul/consultest"
)

const clusters = "type.googleapis.com/envoy.config.cluster.v3.Cluster"

// TestGatewayToken asks for a gateway's configuration as an Envoy would, with the
// token of a gateway, over plain gRPC and over TLS.
func TestGatewayToken(t *testing.T) {
	c := consultest.Start(t, consul.OneServer, consul.Settings{ACL: true, TLS: true})
	a := c.Agents[0]
	token, err := a.GatewayToken(t.Context(), "mesh-gateway")
	must(t, err)
	must(t, a.Register(t.Context(), consul.Service{Name: "web", Addr: addrPort(c, 20, 9001), Sidecar: 19001}))
	must(t, a.RegisterMeshGateway(t.Context(), consul.MeshGateway{LAN: c.Gateway(1), Token: token}))
	roots, err := a.Roots(t.Context())
	must(t, err)

	overTLS := credentials.NewTLS(&tls.Config{RootCAs: a.CA.Pool()})
	for addr, creds := range map[string]credentials.TransportCredentials{
		a.GRPC(): insecure.NewCredentials(), a.GRPCTLS(): overTLS,
	} {
		want := roots.SNI("web", "dc1")
		names, err := ask(t.Context(), addr, creds, token)
		if err != nil || !strings.Contains(strings.Join(names, " "), want) {
			t.Errorf("%s answers with clusters %v, error %v, want %s", addr, names, err, want)
		}
	}
	for name, rules := range map[string]string{"none": "", "reader": `service_prefix "" { policy = "read" }`} {
		other, err := a.NewToken(t.Context(), name, rules)
		must(t, err)
		if _, err := ask(t.Context(), a.GRPC(), insecure.NewCredentials(), other); status.Code(err) != codes.PermissionDenied {
			t.Errorf("with token %q: %v, want PermissionDenied", name, err)
		}
	}
	if _, err := a.NewToken(t.Context(), "none", ""); err == nil {
		t.Error("two policies with one name")
	}
	if _, err := a.NewToken(t.Context(), "wrong", "service {"); err == nil {
		t.Error("rules that are none were taken")
	}

	// Without the right to read services the answer is an empty one, and no error.
	blind, err := a.NewToken(t.Context(), "blind", `service "mesh-gateway" { policy = "write" }`)
	must(t, err)
	must(t, a.RegisterMeshGateway(t.Context(), consul.MeshGateway{LAN: c.Gateway(1), Token: blind}))
	eventually(t, "an empty answer", func() error {
		names, err := ask(t.Context(), a.GRPC(), insecure.NewCredentials(), token)
		if err == nil && len(names) > 0 {
			err = fmt.Errorf("clusters %v", names)
		}
		return err
	})

	as, err := a.ClientWith(token)
	must(t, err)
	if _, _, err := as.Agent().ConnectCALeaf("client", nil); err == nil {
		t.Error("a gateway's token gets other services' leaves")
	}
}

// ask opens a delta stream of xDS as the gateway mesh-gateway and returns the names
// of the clusters that come first.
func ask(ctx context.Context, addr string, creds credentials.TransportCredentials, token string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, consul.Patience)
	defer cancel()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(creds))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx = metadata.AppendToOutgoingContext(ctx, "x-consul-token", token)
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return nil, err
	}
	request := &discovery.DeltaDiscoveryRequest{Node: &core.Node{Id: "mesh-gateway"}, TypeUrl: clusters}
	if err := stream.Send(request); err != nil {
		return nil, err
	}
	answer, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, r := range answer.Resources {
		names = append(names, r.Name)
	}
	return names, nil
}
