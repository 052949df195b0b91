package xds

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestFirstTable(t *testing.T) {
	a := newAgent(t, nil)
	c := start(t, a, func(s *Source) { s.times.warm = never })
	x, _ := a.subscribed()
	x.answer(clusterType, edsCluster("web.x"), edsCluster("dc2.x"))
	x.answer(endpointType, assignment("web.x", "10.0.0.1:80", "x10.0.0.2:80"))
	x.answer(listenerType, gatewayListener(t, "default:10.0.0.9:8443", toCluster(t, "dc2.x", "*.dc2.x")))
	x.answer(endpointType, assignment("dc2.x", "10.2.0.1:8443"))
	c.becomes(
		"*.dc2.x > dc2.x", "dc2.x > dc2.x", "web.x > web.x",
		"dc2.x = 10.2.0.1:8443", "web.x = 10.0.0.1:80, x10.0.0.2:80")
	if c.published() != 1 {
		t.Errorf("%d tables", c.published())
	}
	got := c.Status()
	if !got.Connected || got.Err != nil || got.Kept != 0 || c.table().Source() != "xds" || c.table().Index() != "nonce 4" {
		t.Errorf("status %+v, %s of %q", got, c.table(), c.table().Index())
	}
	if diff := cmp.Diff("[{default 10.0.0.9:8443}]", fmt.Sprint(got.Listeners)); diff != "" {
		t.Error(diff)
	}
}

// TestIncomplete: no half of the answers makes a table.
func TestIncomplete(t *testing.T) {
	for name, half := range map[string]func(x *session){
		"nothing":     func(x *session) {},
		"no listener": func(x *session) { x.answer(clusterType); x.answer(endpointType) },
		"no clusters": func(x *session) { x.answer(listenerType, gatewayListener(t, "l")) },
		"endpoints":   func(x *session) { x.answer(endpointType, assignment("web.x", "10.0.0.1:80")) },
		"no assignment": func(x *session) {
			x.answer(clusterType, edsCluster("web.x"))
			x.answer(listenerType, gatewayListener(t, "l"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAgent(t, nil)
			c := start(t, a, func(s *Source) {
				s.times.warm, s.times.quiet, s.times.burst = never, time.Nanosecond, time.Nanosecond
			})
			x, _ := a.subscribed()
			half(x)
			x.end <- status.Error(codes.Unavailable, "enough")
			c.logged("enough") // the loop has seen all before that
			if c.published() > 0 {
				t.Errorf("published %s", text(c.table()))
			}
		})
	}
}

// TestNoEndpointsEver: the agent sends no endpoints for a cluster that has none,
// and none at all to a gateway without services.
func TestNoEndpointsEver(t *testing.T) {
	a := newAgent(t, nil)
	c := start(t, a, func(s *Source) { s.times.warm = time.Millisecond })
	x, _ := a.subscribed()
	x.answer(clusterType, edsCluster("dc2.x"))
	x.answer(listenerType, gatewayListener(t, "l", toCluster(t, "dc2.x", "*.dc2.x")))
	c.becomes("*.dc2.x > dc2.x", "dc2.x > dc2.x", "dc2.x =")
}

func TestEmptyMesh(t *testing.T) {
	a := newAgent(t, nil)
	c := start(t, a, nil)
	x, _ := a.subscribed()
	x.answer(clusterType)
	x.answer(listenerType, gatewayListener(t, "l"))
	c.becomes()
}

func TestChanges(t *testing.T) {
	a := newAgent(t, nil)
	c := start(t, a, func(s *Source) { s.times.warm = never })
	x, _ := a.subscribed()
	x.mesh(map[string]string{"web.x": "10.0.0.1:80", "api.x": "10.0.0.2:80", "db.x": "10.0.0.3:80"})
	c.becomes("api.x > api.x", "db.x > db.x", "web.x > web.x", "api.x = 10.0.0.2:80", "db.x = 10.0.0.3:80", "web.x = 10.0.0.1:80")
	// Health, and a new cluster that waits for its endpoints without keeping others waiting.
	x.answer(endpointType, assignment("web.x", "x10.0.0.1:80"))
	x.answer(clusterType, edsCluster("new.x"))
	c.becomes("api.x > api.x", "db.x > db.x", "web.x > web.x", "api.x = 10.0.0.2:80", "db.x = 10.0.0.3:80", "web.x = x10.0.0.1:80")
	x.answer(endpointType, assignment("new.x", "10.0.0.4:80"))
	c.becomes("api.x > api.x", "db.x > db.x", "new.x > new.x", "web.x > web.x",
		"api.x = 10.0.0.2:80", "db.x = 10.0.0.3:80", "new.x = 10.0.0.4:80", "web.x = x10.0.0.1:80")
	// One service is deregistered: at once.
	x.answer(clusterType, "web.x")
	x.answer(endpointType, "web.x")
	c.becomes("api.x > api.x", "db.x > db.x", "new.x > new.x", "api.x = 10.0.0.2:80", "db.x = 10.0.0.3:80", "new.x = 10.0.0.4:80")
	// A chain comes and goes.
	x.answer(listenerType, gatewayListener(t, "default", toCluster(t, "api.x", "Old.Example")))
	c.becomes("api.x > api.x", "db.x > db.x", "new.x > new.x", "old.example > api.x",
		"api.x = 10.0.0.2:80", "db.x = 10.0.0.3:80", "new.x = 10.0.0.4:80")
	x.answer(listenerType, gatewayListener(t, "default"))
	c.becomes("api.x > api.x", "db.x > db.x", "new.x > new.x", "api.x = 10.0.0.2:80", "db.x = 10.0.0.3:80", "new.x = 10.0.0.4:80")
	// Nothing changes: no table.
	n := c.published()
	x.answer(endpointType, assignment("api.x", "10.0.0.2:80"))
	x.end <- status.Error(codes.Unavailable, "enough")
	c.logged("enough")
	if c.published() != n {
		t.Error("a table was published in which nothing changed")
	}
}

// TestResume: a new stream tells what is here, the garbage included, and only what
// is.
func TestResume(t *testing.T) {
	a := newAgent(t, nil)
	c := start(t, a, nil)
	x, all := a.subscribed()
	for kind, req := range all {
		if len(req.GetInitialResourceVersions()) > 0 {
			t.Errorf("versions of %s on the first stream", kind)
		}
	}
	web := resource(t, "web.x", edsCluster("web.x"))
	x.answer(clusterType, web, edsCluster("api.x"), &discoveryv3.Resource{Name: "bad", Version: "7"})
	x.answer(endpointType, assignment("web.x", "10.0.0.1:80"), assignment("api.x", "10.0.0.2:80"))
	x.answer(listenerType, gatewayListener(t, "l"))
	x.answer(clusterType, "api.x")
	x.answer(endpointType, "api.x")
	c.becomes("bad ! the agent's cluster could not be read", "web.x = 10.0.0.1:80", "web.x > web.x")
	x.end <- nil
	c.logged("the agent ended the stream")

	x, all = a.subscribed()
	if diff := cmp.Diff(map[string]string{"web.x": web.GetVersion(), "bad": "7"}, all[clusterType].GetInitialResourceVersions()); diff != "" {
		t.Error(diff)
	}
	if got := all[endpointType].GetInitialResourceVersions(); len(got) != 1 || got["web.x"] == "" {
		t.Errorf("endpoints resumed: %v", got)
	}
	if got := all[listenerType].GetInitialResourceVersions(); len(got) != 1 {
		t.Errorf("listeners resumed: %v", got)
	}
	n := c.published()
	x.answer(clusterType)
	x.answer(listenerType)
	x.answer(endpointType, assignment("web.x", "10.0.0.7:80"))
	c.becomes("bad ! the agent's cluster could not be read", "web.x = 10.0.0.7:80", "web.x > web.x")
	if c.published() != n+1 {
		t.Errorf("%d tables for one change", c.published()-n)
	}
}

func TestNode(t *testing.T) {
	a := newAgent(t, nil)
	start(t, a, func(s *Source) {
		s.NodeName, s.Namespace, s.Partition = "host1", "ns1", "part1"
		s.Token = func() (string, error) { return "secret", nil }
	})
	x := a.next()
	node := x.ask().GetNode()
	if diff := cmp.Diff(map[string]any{"node_name": "host1", "namespace": "ns1", "partition": "part1"}, node.GetMetadata().AsMap()); diff != "" || node.GetId() != "gw" {
		t.Error(node.GetId(), diff)
	}
	if x.token != "secret" {
		t.Errorf("token %q", x.token)
	}
	if req := x.ask(); req.GetNode() != nil {
		t.Errorf("the node again: %v", req)
	}
}

// TestGarbage: what cannot be read is acknowledged, costs nothing else, and does
// not replace what was good.
func TestGarbage(t *testing.T) {
	a := newAgent(t, nil)
	c := start(t, a, nil)
	x, _ := a.subscribed()
	x.mesh(map[string]string{"web.x": "10.0.0.1:80"})
	c.becomes("web.x = 10.0.0.1:80", "web.x > web.x")

	broken := func(name, kind string) *discoveryv3.Resource {
		r := resource(t, name, edsCluster(name))
		r.Resource.TypeUrl, r.Resource.Value = kind, []byte("\xff\xff\xff")
		return r
	}
	for _, kind := range subscribed {
		x.answer(kind, broken("web.x", kind), broken("default", kind),
			resource(t, "web.x", edsCluster("not.web.x")), // another name inside
			resource(t, "web.x", assignment("not.web.x")),
			&discoveryv3.Resource{Name: "web.x"}, &discoveryv3.Resource{})
	}
	x.answer("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", broken("s", "x"))
	x.answer("", "x", broken("", ""))
	x.answer(endpointType, assignment("web.x", "10.0.0.2:80"))
	c.becomes("web.x = 10.0.0.2:80", "web.x > web.x", "default ! the agent's cluster could not be read")
	c.logged("answer of a type that was not asked for")
}

func TestSilentStream(t *testing.T) {
	a := newAgent(t, nil)
	c := start(t, a, func(s *Source) { s.times.answer = time.Second })
	x := a.next()
	c.logged("the agent does not know a gateway of this id")
	<-x.gone
	x = a.next() // and another try
	x.send(clusterType)
	c.logged("envoy_gateway_no_default_bind")
	<-x.gone
	a.next()
	if c.published() > 0 || c.Status().Connected {
		t.Error("a silent agent published a table")
	}
	eventually(t, "the status has the reason", func() bool {
		var silent *silence
		return errors.As(c.Status().Err, &silent)
	})
}

// TestSilenceLater: a gateway that was deregistered meanwhile is found out by a new
// stream, and the table stays.
func TestSilenceLater(t *testing.T) {
	a := newAgent(t, nil)
	c := start(t, a, func(s *Source) { s.times.idle = 2 * time.Second })
	x, _ := a.subscribed()
	x.mesh(map[string]string{"web.x": "10.0.0.1:80"})
	c.becomes("web.x = 10.0.0.1:80", "web.x > web.x")
	<-x.gone
	a.subscribed()
	if c.published() != 1 {
		t.Error("another table")
	}
}

func TestTokenRotates(t *testing.T) {
	a := newAgent(t, nil)
	path := filepath.Join(t.TempDir(), "token")
	write := func(token string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	c := start(t, a, func(s *Source) {
		s.times.token = 5 * time.Millisecond
		s.Token = func() (string, error) {
			b, err := os.ReadFile(path)
			return string(b), err
		}
	})
	c.logged("read the token") // there is none yet
	write("one")
	x, _ := a.subscribed()
	if x.token != "one" {
		t.Errorf("token %q", x.token)
	}
	x.mesh(map[string]string{"web.x": "10.0.0.1:80"})
	c.becomes("web.x = 10.0.0.1:80", "web.x > web.x")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	c.logged("the one in use stays")
	write("two")
	<-x.gone
	x, all := a.subscribed()
	if x.token != "two" {
		t.Errorf("token %q", x.token)
	}
	if len(all[clusterType].GetInitialResourceVersions()) != 1 {
		t.Error("not resumed")
	}
	if c.published() != 1 {
		t.Error("another table")
	}
}

// TestTokenRefused: rights that are lost end the stream and not the table, and a
// token that has them is taken up.
func TestTokenRefused(t *testing.T) {
	a := newAgent(t, nil)
	c := start(t, a, nil)
	x, _ := a.subscribed()
	x.mesh(map[string]string{"web.x": "10.0.0.1:80"})
	c.becomes("web.x = 10.0.0.1:80", "web.x > web.x")
	x.end <- status.Error(codes.PermissionDenied, "Permission denied")
	c.logged("service:write")
	for range 3 {
		a.next().end <- status.Error(codes.Unauthenticated, "ACL not found")
	}
	c.logged("the agent does not know the token")
	x, _ = a.subscribed()
	if s := c.Status(); s.Connected || status.Code(s.Err) != codes.Unauthenticated {
		t.Errorf("status %+v", s)
	}
	x.answer(clusterType)
	x.answer(listenerType)
	eventually(t, "connected", func() bool { return c.Status().Connected && c.Status().Err == nil })
	if c.published() != 1 {
		t.Error("another table")
	}
}

func TestTooManyStreams(t *testing.T) {
	a := newAgent(t, nil)
	c := start(t, a, nil)
	x, _ := a.subscribed()
	x.mesh(map[string]string{"web.x": "10.0.0.1:80"})
	x.end <- status.Error(codes.ResourceExhausted, "this server has too many xDS streams open, please try another")
	c.logged("as many streams as it is allowed")
	a.subscribed()
}

func TestWait(t *testing.T) {
	times := new(Options).timing()
	within := func(err error, failures int, low, high time.Duration) {
		t.Helper()
		for range 100 {
			if got := times.wait(err, failures); got < low || got > high {
				t.Fatalf("%v after %d failures: wait %v, want %v to %v", err, failures, got, low, high)
			}
		}
	}
	failed := status.Error(codes.Unavailable, "x")
	within(failed, 0, times.retry/2, times.retry)
	within(failed, 1, times.retry, 2*times.retry)
	within(failed, 10, times.retryMax/2, times.retryMax)
	within(failed, 1<<40, times.retryMax/2, times.retryMax)
	within(status.Error(codes.ResourceExhausted, "x"), 0, times.busy, times.busy+times.retry)
	within(errNewToken, 5, 0, 0)
	within(errIdle, 5, 0, 0)
}

func TestAgentNotThere(t *testing.T) {
	a := newAgent(t, nil)
	a.server.Stop()
	c := start(t, a, nil)
	c.logged("the agent is not running")
	a.restart()
	x, _ := a.subscribed()
	x.mesh(map[string]string{"web.x": "10.0.0.1:80"})
	c.becomes("web.x = 10.0.0.1:80", "web.x > web.x")
}

// TestLastAnswer: what came before a stream broke is published, however short the
// time.
func TestLastAnswer(t *testing.T) {
	a := newAgent(t, nil)
	c := start(t, a, func(s *Source) { s.times.retry, s.times.retryMax = never, never })
	x, _ := a.subscribed()
	x.mesh(map[string]string{"web.x": "10.0.0.1:80"})
	c.becomes("web.x = 10.0.0.1:80", "web.x > web.x")
	x.answer(endpointType, assignment("web.x", "10.0.0.2:80"))
	x.end <- nil
	c.becomes("web.x = 10.0.0.2:80", "web.x > web.x")
}

// TestBurst: a burst of answers makes one table, and one without an end is cut up.
func TestBurst(t *testing.T) {
	s, err := New(Options{Address: "127.0.0.1:1", NodeID: "gw", Log: discard})
	if err != nil {
		t.Fatal(err)
	}
	x := &stream{running: s.run(nil), ads: acknowledged{}, got: map[string]bool{}, abort: func(error) {}}
	begin := time.Now()
	at := func(d time.Duration) time.Duration {
		t.Helper()
		if err := x.take(&discoveryv3.DeltaDiscoveryResponse{TypeUrl: endpointType}, begin.Add(d)); err != nil {
			t.Fatal(err)
		}
		return x.flushAt.Sub(begin)
	}
	const ms = time.Millisecond
	for _, test := range []struct{ at, want time.Duration }{{0, 20 * ms}, {10 * ms, 30 * ms}, {25 * ms, 45 * ms}, {190 * ms, 200 * ms}, {199 * ms, 200 * ms}} {
		if got := at(test.at); got != test.want {
			t.Errorf("an answer at %v: published at %v, want %v", test.at, got, test.want)
		}
	}
	x.flushAt = time.Time{} // published
	if got := at(300 * ms); got != 320*ms {
		t.Errorf("the next burst is published at %v", got)
	}
}

// acknowledged is a client's end of a stream that goes nowhere.
type acknowledged struct{ grpc.ClientStream }

func (acknowledged) Send(*discoveryv3.DeltaDiscoveryRequest) error { return nil }
func (acknowledged) Recv() (*discoveryv3.DeltaDiscoveryResponse, error) {
	return nil, errors.New("nothing comes from here")
}

// stuck is one whose agent does not read.
type stuck struct {
	acknowledged
	ctx context.Context
}

func (s stuck) Send(*discoveryv3.DeltaDiscoveryRequest) error {
	<-s.ctx.Done()
	return s.ctx.Err()
}

func TestStuckAgent(t *testing.T) {
	s, err := New(Options{Address: "127.0.0.1:1", NodeID: "gw", Log: discard, Answer: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, abort := context.WithCancelCause(deadline(t))
	x := &stream{running: s.run(nil), ads: stuck{ctx: ctx}, got: map[string]bool{}, abort: abort}
	if err := x.subscribe(clusterType); err == nil || !errors.Is(context.Cause(ctx), errStuck) {
		t.Errorf("%v, %v", err, context.Cause(ctx))
	}
}

func TestProbe(t *testing.T) {
	a := newAgent(t, nil)
	ctx := deadline(t)
	result := make(chan error, 1)
	probe := func(o Options) {
		o.Address, o.NodeID, o.Log = a.addr, "gw", discard
		go func() { result <- Probe(ctx, o) }()
	}
	probe(Options{})
	x, _ := a.subscribed()
	x.answer(clusterType)
	x.send(listenerType, gatewayListener(t, "l"))
	if err := <-result; err != nil {
		t.Error(err)
	}
	probe(Options{Answer: 500 * time.Millisecond})
	a.next()
	var silent *silence
	if err := <-result; !errors.As(err, &silent) {
		t.Errorf("silent: %v", err)
	}
	probe(Options{})
	a.next().end <- status.Error(codes.PermissionDenied, "no")
	if err := <-result; status.Code(errors.Unwrap(err)) != codes.PermissionDenied {
		t.Errorf("refused: %v", err)
	}
	if err := Probe(ctx, Options{Address: a.addr}); err == nil {
		t.Error("no id, and no error")
	}
}

func TestOptions(t *testing.T) {
	for address, ok := range map[string]bool{
		"127.0.0.1:8502": true, "[::1]:8502": true, "consul.example:8503": true, "unix:///run/consul.sock": true,
		"": false, "unix://": false, "127.0.0.1": false, ":8502": false, "host:": false, "http://127.0.0.1:8502": false,
	} {
		if _, err := New(Options{Address: address, NodeID: "gw"}); (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
	}
	if s, err := New(Options{Address: "h:1", NodeID: "gw"}); err != nil || s.Log == nil || s.times.settle != DefaultSettle {
		t.Errorf("defaults: %+v, %v", s, err)
	}
}
