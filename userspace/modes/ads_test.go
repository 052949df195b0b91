package modes_test

import (
	"context"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	"sluice/scripts/consul"
)

const (
	clusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	endpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
)

// dials returns what an Envoy would dial for the sidecar: for each cluster the
// addresses, sorted. It reads until want is satisfied, or gives what there is when
// the time is over.
func dials(t *testing.T, a *consul.Agent, sidecar, token string, want func(map[string][]string) bool) map[string][]string {
	t.Helper()
	conn, err := grpc.NewClient(a.GRPC(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "x-consul-token", token)
	ads, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{clusterType, endpointType} {
		if err := ads.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: kind, Node: &corev3.Node{Id: sidecar}}); err != nil {
			t.Fatal(err)
		}
	}
	fixed, eds := map[string][]string{}, map[string][]string{}
	for {
		all := maps.Clone(eds)
		maps.Copy(all, fixed)
		if want(all) {
			return all
		}
		answer, err := ads.Recv()
		if err != nil {
			t.Logf("the agent's answers for %s end: %v", sidecar, err)
			return all
		}
		for _, name := range answer.GetRemovedResources() {
			if answer.GetTypeUrl() == clusterType {
				delete(fixed, target(name))
			} else {
				delete(eds, target(name))
			}
		}
		for _, r := range answer.GetResources() {
			m, err := r.GetResource().UnmarshalNew()
			if err != nil {
				t.Fatal(err)
			}
			switch m := m.(type) {
			case *clusterv3.Cluster:
				if found := addresses(m.GetLoadAssignment()); len(found) > 0 {
					fixed[target(m.GetName())] = found
				}
			case *endpointv3.ClusterLoadAssignment:
				eds[target(m.GetClusterName())] = addresses(m)
			}
		}
		if err := ads.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: answer.GetTypeUrl(), ResponseNonce: answer.GetNonce()}); err != nil {
			t.Fatal(err)
		}
	}
}

// target is the server name in a cluster's name, without the hash of what the caller
// wants otherwise: [HASH~]NAME. Of failover-target~NUMBER~[HASH~]NAME it leaves the
// number as well.
func target(cluster string) string {
	name := cluster[strings.LastIndex(cluster, "~")+1:]
	if numbered, ok := strings.CutPrefix(cluster, "failover-target~"); ok {
		number, _, _ := strings.Cut(numbered, "~")
		name = number + "~" + name
	}
	return name
}

func addresses(la *endpointv3.ClusterLoadAssignment) []string {
	var all []string
	for _, group := range la.GetEndpoints() {
		for _, e := range group.GetLbEndpoints() {
			a := e.GetEndpoint().GetAddress().GetSocketAddress()
			all = append(all, net.JoinHostPort(a.GetAddress(), strconv.Itoa(int(a.GetPortValue()))))
		}
	}
	slices.Sort(all)
	return all
}
