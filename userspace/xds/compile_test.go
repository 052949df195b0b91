package xds

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// world is a random mesh, of which a compiler is told by random changes.
type world struct {
	rng   *rand.Rand
	names []string
	has   map[string]map[string]proto.Message // by type and name
}

func newWorld(seed uint64) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 1)), has: map[string]map[string]proto.Message{}}
	for i := range 8 {
		w.names = append(w.names, fmt.Sprintf("s%d.dc%d.x", i, i%3))
	}
	w.names = append(w.names, "Big.dc1.x", "exported~s1.dc1.x", "dc2.x", "v1.s1.dc1.x")
	for _, kind := range subscribed {
		w.has[kind] = map[string]proto.Message{}
	}
	return w
}

func (w *world) name() string { return w.names[w.rng.IntN(len(w.names))] }

// change changes one thing and returns what is to be told.
func (w *world) change(t testing.TB) (kind string, content []any) {
	switch w.rng.IntN(10) {
	case 0, 1, 2:
		c := edsCluster(w.name())
		switch w.rng.IntN(8) {
		case 0:
			c.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{ServiceName: w.name()}
		case 1:
			c.TransportSocket = transportTLS()
		case 2:
			c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
			c.LoadAssignment = assignment(c.Name, "10.9.9.9:80")
		}
		return w.put(clusterType, c.Name, c)
	case 3, 4, 5, 6:
		var endpoints []string
		for i := range w.rng.IntN(4) {
			endpoints = append(endpoints, fmt.Sprintf("10.0.%d.%d:80", w.rng.IntN(3), i))
		}
		name := w.name()
		return w.put(endpointType, name, assignment(name, endpoints...))
	case 7:
		var chains []*listenerv3.FilterChain
		for range w.rng.IntN(4) {
			sni := []string{w.name(), "*.dc2.x", "*.x", "other.x"}[w.rng.IntN(4)]
			chains = append(chains, toCluster(t, w.name(), sni))
		}
		name := fmt.Sprint("l", w.rng.IntN(2))
		l := gatewayListener(t, name, chains...)
		if w.rng.IntN(4) == 0 && len(chains) > 0 {
			l.FilterChains = chains // not by cluster
		}
		return w.put(listenerType, name, l)
	default:
		kind := subscribed[w.rng.IntN(2)]
		name := w.name()
		delete(w.has[kind], name)
		return kind, []any{name}
	}
}

func (w *world) put(kind, name string, m proto.Message) (string, []any) {
	w.has[kind][name] = m
	return kind, []any{m}
}

// TestIncremental: however the changes come, the table is in the end as if all
// had come at once.
func TestIncremental(t *testing.T) {
	for seed := range uint64(60) {
		w := newWorld(seed)
		p := newPlay(t, nil)
		p.loss.Hold = time.Nanosecond
		p.begin()
		w.put(listenerType, "l", gatewayListener(t, "l"))
		for range 40 {
			for range w.rng.IntN(8) {
				kind, content := w.change(t)
				p.told(kind, content...)
			}
			if w.rng.IntN(10) == 0 {
				p.begin()
				w.put(listenerType, "l", gatewayListener(t, "l"))
			}
			p.after(time.Duration(w.rng.IntN(2000)) * time.Millisecond)
			if _, err := p.compile(p.now); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		p.loss.Begin(true)
		// A service that is not half of all lets the kept ones go.
		for range 2 {
			p.have("one.y", "two.y", "three.y", "four.y", "five.y", "six.y", "seven.y", "eight.y", "nine.y", "ten.y", "a.y", "b.y", "c.y", "d.y")
			p.after(time.Minute)
			if _, err := p.compile(p.now); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		if len(p.loss.Kept()) > 0 || len(p.changed) > 0 || len(p.waiting) > 0 {
			t.Fatalf("seed %d: left over: kept %v, changed %v, waiting %v", seed, p.loss.Kept(), p.changed, p.waiting)
		}

		fresh := newPlay(t, nil)
		fresh.loss.Begin(true)
		for _, kind := range subscribed {
			for _, name := range slices.Sorted(maps.Keys(w.has[kind])) {
				fresh.told(kind, w.has[kind][name])
			}
		}
		fresh.have("one.y", "two.y", "three.y", "four.y", "five.y", "six.y", "seven.y", "eight.y", "nine.y", "ten.y", "a.y", "b.y", "c.y", "d.y")
		fresh.after(time.Minute)
		if _, err := fresh.compile(fresh.now); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if diff := cmp.Diff(text(fresh.table), text(p.table)); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
	}
}

// FuzzTake: no resource, however broken, panics or makes a table impossible.
func FuzzTake(f *testing.F) {
	for i, m := range []proto.Message{
		edsCluster("web.x"), assignment("web.x", "10.0.0.1:80", "x10.0.0.2:80"),
		gatewayListener(f, "l", toCluster(f, "web.x", "*.web.x", "a.b")),
	} {
		body, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(i, "web.x", body)
	}
	f.Add(0, "", []byte{})
	f.Fuzz(func(t *testing.T, kind int, name string, body []byte) {
		p := newPlay(t, nil)
		p.begin()
		p.have("web.x", "a.b")
		for range 2 {
			typeURL := subscribed[uint(kind)%3]
			p.take(&discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeURL, Resources: []*discoveryv3.Resource{
				{Name: name, Resource: &anypb.Any{TypeUrl: typeURL, Value: body}},
			}}, p.now)
			if _, err := p.compile(p.now); err != nil {
				t.Fatal(err)
			}
			kind++
			p.after(time.Minute)
		}
		p.told(subscribed[uint(kind)%3], name)
		if _, err := p.compile(p.now); err != nil {
			t.Fatal(err)
		}
		if r, _ := p.table.Lookup([]byte("a.b")); r == nil {
			t.Error("a.b is gone")
		}
	})
}
