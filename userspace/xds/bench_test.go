package xds

import (
	"fmt"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"sluice/userspace/route"
)

// bigMesh is n services in the shape of Consul's, as two answers.
func bigMesh(t testing.TB, n int) (clusters, assignments []any) {
	for i := range n {
		name := bigName(i)
		clusters = append(clusters, resource(t, name, edsCluster(name)))
		assignments = append(assignments, resource(t, name, assignment(name, bigEndpoint(i, 1), bigEndpoint(i, 2))))
	}
	return clusters, assignments
}

func bigName(i int) string {
	return fmt.Sprintf("web%d.default.dc1.internal.11111111-2222-3333-4444-555555555555.consul", i)
}

func bigEndpoint(i, j int) string { return fmt.Sprintf("10.%d.%d.%d:20000", j, i/250, 1+i%250) }

// BenchmarkCold is from a new source to its first table.
func BenchmarkCold(b *testing.B) {
	for _, n := range []int{2_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			clusters, assignments := bigMesh(b, n)
			a := newAgent(b, nil)
			for b.Loop() {
				first := make(chan *route.Table, 1)
				s, err := New(Options{Address: a.addr, NodeID: "gw", Log: discard})
				if err != nil {
					b.Fatal(err)
				}
				ctx, stop := deadline(b), make(chan struct{})
				go func() {
					defer close(stop)
					_ = s.Run(ctx, func(t *route.Table) { first <- t })
				}()
				x, _ := a.subscribed()
				x.answer(clusterType, clusters...)
				x.answer(endpointType, assignments...)
				x.answer(listenerType, gatewayListener(b, "l"))
				if routes, _ := (<-first).Len(); routes != n {
					b.Fatalf("%d routes", routes)
				}
				b.StopTimer()
				a.server.Stop()
				a = newAgent(b, nil)
				b.StartTimer()
			}
		})
	}
}

// BenchmarkOneChange is from the answer that one endpoint's health changed to the
// next table.
func BenchmarkOneChange(b *testing.B) {
	for _, n := range []int{1_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := newPlay(b, nil)
			p.begin()
			clusters, assignments := bigMesh(b, n)
			for kind, content := range map[string][]any{clusterType: clusters, endpointType: assignments} {
				a := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: kind}
				for _, c := range content {
					a.Resources = append(a.Resources, c.(*discoveryv3.Resource))
				}
				p.take(a, p.now)
			}
			if _, err := p.compile(p.now); err != nil {
				b.Fatal(err)
			}
			var changes [2][]*discoveryv3.DeltaDiscoveryResponse
			for i := range n {
				for j, first := range []string{"x", ""} {
					changes[j] = append(changes[j], &discoveryv3.DeltaDiscoveryResponse{TypeUrl: endpointType, Resources: []*discoveryv3.Resource{
						resource(b, bigName(i), assignment(bigName(i), first+bigEndpoint(i, 1), bigEndpoint(i, 2))),
					}})
				}
			}
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				p.take(changes[i/n%2][i%n], p.now)
				t, err := p.compile(p.now.Add(time.Duration(i)))
				if t == nil || err != nil {
					b.Fatalf("%v, %v", t, err)
				}
				i++
			}
		})
	}
}
