package xds

import (
	"context"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	// What the resources of Consul have inside, for protojson to know it.
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_cluster/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
)

var (
	captureFrom = flag.String("capture", "", "write what the agent at this gRPC address sends to testdata")
	captureID   = flag.String("capture-id", "gw1", "for the gateway of this id")
	captureTo   = flag.String("capture-to", "consul.json", "into this file")
)

// TestCapture makes the testdata: run with -capture ADDRESS against an agent with
// the mesh in it that testdata/README.md describes.
func TestCapture(t *testing.T) {
	if *captureFrom == "" {
		t.Skip("no -capture given: the testdata stays as it is")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	s, err := New(Options{Address: *captureFrom, NodeID: *captureID, Log: discard})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := s.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ads, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	x := &stream{running: s.run(nil), ads: ads, abort: func(error) {}}
	for _, kind := range subscribed {
		if err := x.subscribe(kind); err != nil {
			t.Fatal(err)
		}
	}
	var all []*discoveryv3.Resource
	for len(x.compiler.listeners) == 0 {
		a, err := ads.Recv()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, a.GetResources()...)
		x.compiler.take(a, time.Now())
		if err := ads.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: a.GetTypeUrl(), ResponseNonce: a.GetNonce()}); err != nil {
			t.Fatal(err)
		}
	}
	writeResources(t, filepath.Join("testdata", *captureTo), all)
}

// scrub takes what is inside of TLS settings out, the gateway's own key among it.
func scrub(t *testing.T, r *discoveryv3.Resource) *discoveryv3.Resource {
	t.Helper()
	empty := func(s *corev3.TransportSocket) {
		if s != nil {
			s.ConfigType.(*corev3.TransportSocket_TypedConfig).TypedConfig.Value = nil
		}
	}
	m, err := r.GetResource().UnmarshalNew()
	if err != nil {
		t.Fatal(err)
	}
	switch m := m.(type) {
	case *clusterv3.Cluster:
		empty(m.GetTransportSocket())
	case *listenerv3.Listener:
		for _, c := range m.GetFilterChains() {
			empty(c.GetTransportSocket())
		}
	}
	body, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return &discoveryv3.Resource{Name: r.GetName(), Version: r.GetVersion(), Resource: body}
}

// writeResources writes an answer with the resources, sorted by type and name.
func writeResources(t *testing.T, path string, all []*discoveryv3.Resource) {
	t.Helper()
	byName := map[string]*discoveryv3.Resource{}
	for _, r := range all {
		byName[r.GetResource().GetTypeUrl()+" "+r.GetName()] = r
	}
	out := &discoveryv3.DeltaDiscoveryResponse{}
	for _, key := range slices.Sorted(maps.Keys(byName)) {
		out.Resources = append(out.Resources, scrub(t, byName[key]))
	}
	text, err := protojson.MarshalOptions{Multiline: true, Indent: " "}.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
