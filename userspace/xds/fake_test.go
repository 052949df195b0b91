package xds

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// agent is a fake of a Consul agent's gRPC port. It does what the test tells it,
// stream by stream.
type agent struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	t       testing.TB
	addr    string
	server  *grpc.Server
	streams chan *session
}

// session is a stream as the agent sees it.
type session struct {
	t      testing.TB
	token  string
	asked  chan *discoveryv3.DeltaDiscoveryRequest // all that the gateway sends
	end    chan error                              // ends the stream
	gone   <-chan struct{}                         // the gateway ended it
	stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	nonce  atomic.Int64
}

func newAgent(t testing.TB, config *tls.Config) *agent {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{t: t, addr: l.Addr().String(), streams: make(chan *session)}
	options := []grpc.ServerOption{grpc.MaxRecvMsgSize(maxAnswer)}
	if config != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(config)))
	}
	a.serve(l, options...)
	t.Cleanup(func() { a.server.Stop() })
	return a
}

func (a *agent) serve(l net.Listener, options ...grpc.ServerOption) {
	a.server = grpc.NewServer(options...)
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(a.server, a)
	go a.server.Serve(l)
}

// restart stops the agent and starts another one at its address.
func (a *agent) restart() {
	a.t.Helper()
	a.server.Stop()
	var l net.Listener
	eventually(a.t, "the agent listens again", func() (ok bool) {
		var err error
		l, err = net.Listen("tcp", a.addr)
		return err == nil
	})
	a.serve(l)
}

// DeltaAggregatedResources is called for each stream that a gateway opens.
func (a *agent) DeltaAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	x := &session{
		t: a.t, token: strings.Join(md.Get("x-consul-token"), ","), stream: stream,
		asked: make(chan *discoveryv3.DeltaDiscoveryRequest, 10_000), end: make(chan error, 1), gone: stream.Context().Done(),
	}
	select {
	case a.streams <- x:
	case <-stream.Context().Done():
		return stream.Context().Err()
	}
	go func() {
		for {
			req, err := stream.Recv()
			if err != nil {
				return
			}
			x.asked <- req
		}
	}()
	select {
	case err := <-x.end:
		return err
	case <-stream.Context().Done():
		return stream.Context().Err()
	}
}

// next waits for the next stream.
func (a *agent) next() *session {
	a.t.Helper()
	select {
	case x := <-a.streams:
		return x
	case <-time.After(patience):
		a.t.Fatal("no stream came")
		return nil
	}
}

// subscribed waits for the next stream, and for the three subscriptions on it.
func (a *agent) subscribed() (*session, map[string]*discoveryv3.DeltaDiscoveryRequest) {
	a.t.Helper()
	x := a.next()
	all := map[string]*discoveryv3.DeltaDiscoveryRequest{}
	for i := range 3 {
		req := x.ask()
		if i == 0 && req.GetNode().GetId() != "gw" {
			a.t.Errorf("the first request is of node %v", req.GetNode())
		}
		if req.GetResponseNonce() != "" || len(req.GetResourceNamesSubscribe()) > 0 {
			a.t.Errorf("not a wildcard subscription: %v", req)
		}
		all[req.GetTypeUrl()] = req
	}
	if len(all) != 3 {
		a.t.Errorf("subscriptions: %v", all)
	}
	return x, all
}

// ask waits for the next request.
func (x *session) ask() *discoveryv3.DeltaDiscoveryRequest {
	x.t.Helper()
	select {
	case req := <-x.asked:
		return req
	case <-time.After(patience):
		x.t.Fatal("no request came")
		return nil
	}
}

// send sends an answer, without waiting for its acknowledgement. Each name to
// remove is a string, and each resource its message.
func (x *session) send(kind string, content ...any) (nonce string) {
	x.t.Helper()
	a := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: kind, Nonce: fmt.Sprint(x.nonce.Add(1))}
	for _, c := range content {
		switch c := c.(type) {
		case string:
			a.RemovedResources = append(a.RemovedResources, c)
		case *discoveryv3.Resource:
			a.Resources = append(a.Resources, c)
		case proto.Message:
			a.Resources = append(a.Resources, resource(x.t, nameOf(c), c))
		}
	}
	if err := x.stream.Send(a); err != nil {
		x.t.Fatalf("send: %v", err)
	}
	return a.GetNonce()
}

func nameOf(m proto.Message) string {
	switch m := m.(type) {
	case interface{ GetClusterName() string }:
		return m.GetClusterName()
	case interface{ GetName() string }:
		return m.GetName()
	}
	return ""
}

// answer sends and waits for the acknowledgement, which must be one.
func (x *session) answer(kind string, content ...any) {
	x.t.Helper()
	nonce := x.send(kind, content...)
	req := x.ask()
	if req.GetTypeUrl() != kind || req.GetResponseNonce() != nonce || req.GetErrorDetail() != nil {
		x.t.Fatalf("answered %s %s, and the gateway said %v", kind, nonce, req)
	}
}

// mesh answers with services, each with its endpoint, and with a listener.
func (x *session) mesh(services map[string]string) {
	x.t.Helper()
	var clusters, assignments []any
	for name, endpoint := range services {
		clusters = append(clusters, edsCluster(name))
		assignments = append(assignments, assignment(name, endpoint))
	}
	x.answer(clusterType, clusters...)
	x.answer(endpointType, assignments...)
	x.answer(listenerType, gatewayListener(x.t, "default"))
}

// deadline is a context that ends in time.
func deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}
