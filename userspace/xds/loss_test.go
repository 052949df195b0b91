package xds

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"sluice/userspace/route"
)

// play is a compiler that is told of answers at times of the test's choosing.
type play struct {
	*compiler
	t   testing.TB
	log *logBuffer
	now time.Time
}

const (
	testSettle = 5 * time.Second
	testHold   = 10 * time.Minute
)

func newPlay(t testing.TB, last *route.Table) *play {
	log, buffer := newLog()
	times := new(Options).timing()
	times.settle, times.hold, times.warm = testSettle, testHold, time.Second
	return &play{compiler: newCompiler(newMesh(log), last, times), t: t, log: buffer, now: time.Now()}
}

// begin is a new stream that has given its first answers, with the listener.
func (p *play) begin() {
	p.t.Helper()
	p.loss.Begin(p.table == nil)
	p.told(listenerType, gatewayListener(p.t, "l"))
	p.heard = true
	p.loss.Answered(p.now)
}

func (p *play) told(kind string, content ...any) {
	p.t.Helper()
	a := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: kind}
	for _, c := range content {
		switch c := c.(type) {
		case string:
			a.RemovedResources = append(a.RemovedResources, c)
		case proto.Message:
			a.Resources = append(a.Resources, resource(p.t, nameOf(c), c))
		}
	}
	p.take(a, p.now)
}

// have tells of services, each with an endpoint.
func (p *play) have(names ...string) {
	p.t.Helper()
	for _, name := range names {
		p.told(clusterType, edsCluster(name))
		p.told(endpointType, assignment(name, "10.0.0.1:80"))
	}
}

// gone tells that services are not there any more.
func (p *play) gone(names ...string) {
	p.t.Helper()
	for _, name := range names {
		p.told(clusterType, name)
		p.told(endpointType, name)
	}
}

// routes compiles and wants these routes, all of them with endpoints.
func (p *play) routes(want ...string) {
	p.t.Helper()
	if _, err := p.compile(p.now); err != nil {
		p.t.Fatal(err)
	}
	var got []string
	for r := range p.table.Routes() {
		got = append(got, r.Name)
		if _, c := p.table.Lookup([]byte(r.Name)); len(c.Endpoints) == 0 {
			p.t.Errorf("%s has no endpoint", r.Name)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		p.t.Errorf("routes %v, want %v\nlog:\n%s", got, want, p.log)
	}
}

func (p *play) after(d time.Duration) { p.now = p.now.Add(d) }

// dueIn goes to the time at which something is due, which must be so far away.
func (p *play) dueIn(want time.Duration) {
	p.t.Helper()
	at := p.due()
	if at.IsZero() || at.Sub(p.now) != want {
		p.t.Errorf("due in %v, want %v", at.Sub(p.now), want)
	}
	p.now = at
}

func TestOneLeavesAtOnce(t *testing.T) {
	p := newPlay(t, nil)
	p.begin()
	p.have("a.x", "b.x", "c.x", "v1.a.x", "exported~a.x")
	p.routes("a.x", "b.x", "c.x", "v1.a.x")
	p.gone("exported~a.x", "v1.a.x", "a.x") // one service with its subset
	p.routes("b.x", "c.x")
	p.gone("b.x")
	p.routes("c.x")
	p.gone("c.x") // the last one, and only one
	p.routes()
	if at := p.due(); !at.IsZero() {
		t.Errorf("due %v", at)
	}
}

// TestEmptied: a service leaves, too, when its cluster stays without endpoints.
func TestEmptied(t *testing.T) {
	p := newPlay(t, nil)
	p.begin()
	p.have("a.x", "b.x", "c.x", "d.x")
	p.routes("a.x", "b.x", "c.x", "d.x")
	p.told(endpointType, assignment("a.x"))
	if _, err := p.compile(p.now); err != nil {
		t.Fatal(err)
	}
	if c := p.table.Cluster("a.x"); len(c.Endpoints) != 0 {
		t.Errorf("one service was emptied, and has %v", c.Endpoints)
	}
	p.told(endpointType, assignment("b.x"), assignment("c.x"))
	p.told(endpointType, "d.x")
	if _, err := p.compile(p.now); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"b.x", "c.x", "d.x"} {
		if c := p.table.Cluster(name); len(c.Endpoints) == 0 {
			t.Errorf("all services were emptied, and %s is empty", name)
		}
	}
	p.told(endpointType, assignment("b.x", "10.0.0.2:80"))
	p.told(endpointType, assignment("c.x", "10.0.0.3:80"))
	if _, err := p.compile(p.now); err != nil {
		t.Fatal(err)
	}
	if got := text(p.table); !strings.Contains(got, "b.x = 10.0.0.2:80\n") || !strings.Contains(got, "d.x = 10.0.0.1:80\n") {
		t.Error(got)
	}
}

// TestRestartedAgent: it answers in parts, and what is really gone leaves when the
// stream has settled.
func TestRestartedAgent(t *testing.T) {
	p := newPlay(t, nil)
	p.begin()
	p.have("a.x", "b.x", "c.x", "d.x", "e.x")
	p.routes("a.x", "b.x", "c.x", "d.x", "e.x")
	p.after(time.Hour)

	p.loss.Begin(false) // no first answers yet
	p.gone("a.x", "b.x", "c.x")
	p.routes("a.x", "b.x", "c.x", "d.x", "e.x")
	if at := p.due(); !at.IsZero() {
		t.Errorf("due %v on a stream that has not answered", at)
	}
	p.begin()
	p.after(testSettle - 1)
	p.have("a.x")
	p.routes("a.x", "b.x", "c.x", "d.x", "e.x")
	p.dueIn(testSettle) // anew, since something came back
	p.have("b.x")
	p.after(-1)
	p.routes("a.x", "b.x", "c.x", "d.x", "e.x")
	p.dueIn(testSettle)
	p.routes("a.x", "b.x", "d.x", "e.x")
	p.gone("d.x") // at once again
	p.routes("a.x", "b.x", "e.x")
	if len(p.loss.Kept()) > 0 || !strings.Contains(p.log.String(), "kept until it has settled") {
		t.Errorf("kept %v, log:\n%s", p.loss.Kept(), p.log)
	}
}

// TestHalfIsLost: most services vanish, one way or another, and some come back.
func TestHalfIsLost(t *testing.T) {
	for _, fresh := range []bool{false, true} {
		p := newPlay(t, nil)
		p.begin()
		p.have("a.x", "b.x", "c.x", "d.x", "e.x")
		p.routes("a.x", "b.x", "c.x", "d.x", "e.x")
		p.after(time.Hour)
		if fresh {
			p.begin()
		}
		p.gone("a.x", "b.x", "c.x")
		p.routes("a.x", "b.x", "c.x", "d.x", "e.x")
		if fresh {
			p.dueIn(testSettle)
			p.routes("a.x", "b.x", "c.x", "d.x", "e.x")
			p.after(-testSettle)
		}
		if !strings.Contains(p.log.String(), "half of the services") || !strings.Contains(p.log.String(), "a.x") {
			t.Errorf("log:\n%s", p.log)
		}
		p.after(time.Minute)
		p.have("a.x") // the two that are left are few now, but no less of a doubt
		p.routes("a.x", "b.x", "c.x", "d.x", "e.x")
		p.dueIn(testHold - time.Minute)
		p.routes("a.x", "d.x", "e.x")
		if at := p.due(); !at.IsZero() || len(p.loss.Kept()) > 0 {
			t.Errorf("due %v, kept %v", at, p.loss.Kept())
		}
	}
}

// TestAllIsLost: the last table stays for as long as there is nothing else, and a
// while longer.
func TestAllIsLost(t *testing.T) {
	p := newPlay(t, nil)
	p.begin()
	p.have("a.x", "b.x", "c.x")
	p.routes("a.x", "b.x", "c.x")
	p.gone("a.x", "b.x", "c.x")
	for range 5 {
		p.routes("a.x", "b.x", "c.x")
		if at := p.due(); !at.IsZero() {
			t.Errorf("due %v", at)
		}
		p.after(testHold)
	}
	if !strings.Contains(p.log.String(), "no service any more") {
		t.Errorf("log:\n%s", p.log)
	}
	p.have("a.x")
	p.routes("a.x", "b.x", "c.x")
	p.dueIn(testHold)
	p.routes("a.x")
}

// TestLastTable: the table of an earlier process stays until the agent has had its
// time to answer.
func TestLastTable(t *testing.T) {
	before := newPlay(t, nil)
	before.begin()
	before.have("a.x", "b.x", "c.x", "d.x", "e.x")
	before.routes("a.x", "b.x", "c.x", "d.x", "e.x")

	p := newPlay(t, before.table)
	if p.complete(p.now) {
		t.Error("complete before anything was heard")
	}
	p.have("a.x", "b.x", "f.x")
	p.told(endpointType, assignment("b.x", "10.0.0.2:80"))
	p.begin()
	p.have("c.x", "d.x")
	p.routes("a.x", "b.x", "c.x", "d.x", "e.x", "f.x")
	if got := p.table.Cluster("b.x").Endpoints[0].String(); got != "10.0.0.2:80" {
		t.Errorf("b.x is at %s", got)
	}
	p.dueIn(testSettle)
	p.routes("a.x", "b.x", "c.x", "d.x", "f.x")
}

// TestRefusedIsNotLost: what becomes impossible is refused at once.
func TestRefusedIsNotLost(t *testing.T) {
	p := newPlay(t, nil)
	p.begin()
	p.have("a.x", "b.x")
	p.routes("a.x", "b.x")
	for _, name := range []string{"a.x", "b.x"} {
		c := edsCluster(name)
		c.TransportSocket = transportTLS()
		p.told(clusterType, c)
	}
	if _, err := p.compile(p.now); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.x", "b.x"} {
		if r, _ := p.table.Lookup([]byte(name)); r == nil || r.Refuse == "" {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestChainOfKeptCluster: the routes of a cluster that is kept stay, though their
// chains went, and go with it.
func TestChainOfKeptCluster(t *testing.T) {
	p := newPlay(t, nil)
	p.begin()
	p.have("dc2.x", "web.x", "api.x", "db.x")
	chain := toCluster(t, "dc2.x", "*.dc2.x")
	p.told(listenerType, gatewayListener(t, "l", chain))
	all := []string{"*.dc2.x", "dc2.x", "web.x", "api.x", "db.x"}
	p.routes(all...)
	p.begin() // with a listener that has not got the chain
	p.gone("dc2.x")
	p.routes(all...)
	p.have("dc2.x") // back, and its chain later
	p.routes("dc2.x", "web.x", "api.x", "db.x")
	p.told(listenerType, gatewayListener(t, "l", chain))
	p.routes(all...)
	p.begin()
	p.gone("dc2.x")
	p.routes(all...)
	p.dueIn(testSettle)
	p.routes("web.x", "api.x", "db.x")
}

// TestNoListener: no listener at all is no reason to drop every route.
func TestNoListener(t *testing.T) {
	p := newPlay(t, nil)
	p.begin()
	p.have("a.x", "b.x")
	p.routes("a.x", "b.x")
	p.told(listenerType, "l")
	p.routes("a.x", "b.x")
}

// TestRestartEmpty is the whole way: an agent that comes back with nothing.
func TestRestartEmpty(t *testing.T) {
	a := newAgent(t, nil)
	c := start(t, a, nil)
	x, _ := a.subscribed()
	want := []string{}
	services := map[string]string{}
	for i := range 5 {
		name := fmt.Sprintf("s%d.x", i)
		services[name] = "10.0.0.1:80"
		want = append(want, name+" > "+name, name+" = 10.0.0.1:80")
	}
	x.mesh(services)
	c.becomes(want...)
	a.restart()
	x, all := a.subscribed()
	gone := []any{}
	for name := range all[clusterType].GetInitialResourceVersions() {
		gone = append(gone, name)
	}
	if len(gone) != 5 {
		t.Fatalf("resumed with %v", gone)
	}
	x.answer(clusterType)
	x.answer(clusterType, gone...)
	x.answer(endpointType, gone...)
	x.answer(listenerType)
	eventually(t, "all are kept", func() bool { return c.Status().Kept == 5 })
	c.logged("no service any more")
	x.end <- status.Error(codes.Unavailable, "bye")

	x, all = a.subscribed()
	if got := all[clusterType].GetInitialResourceVersions(); len(got) > 0 {
		t.Errorf("resumed with what the agent has not got: %v", got)
	}
	x.mesh(services)
	eventually(t, "none is kept", func() bool { return c.Status().Kept == 0 })
	x.answer(endpointType, assignment("s0.x", "10.0.0.7:80"))
	want = append(want[2:], "s0.x > s0.x", "s0.x = 10.0.0.7:80")
	c.becomes(want...)
	// And one that is deregistered leaves.
	x.answer(clusterType, "s0.x")
	x.answer(endpointType, "s0.x")
	c.becomes(want[:len(want)-2]...)
}

// TestHidden: what the token sees no more stays, one by one as the agent takes it away,
// until it sees it again or it is known to be gone.
func TestHidden(t *testing.T) {
	p := newPlay(t, nil)
	var hidden bool
	var fails error
	asked := 0
	s, err := New(Options{Address: "127.0.0.1:8502", NodeID: "gw", Hidden: func(context.Context) (bool, error) {
		asked++
		return hidden, fails
	}})
	if err != nil {
		t.Fatal(err)
	}
	p.doubt = s.doubt
	p.begin()
	p.have("a.x", "b.x", "c.x", "d.x")
	p.routes("a.x", "b.x", "c.x", "d.x")
	p.gone("a.x")
	p.routes("b.x", "c.x", "d.x")

	hidden = true
	p.gone("b.x")
	p.routes("b.x", "c.x", "d.x")
	before := asked
	p.routes("b.x", "c.x", "d.x") // nothing new to ask for
	if asked != before {
		t.Errorf("asked %d times", asked-before)
	}
	p.dueIn(testSettle)
	p.routes("b.x", "c.x", "d.x")
	hidden, fails = false, errors.New("no answer")
	p.gone("c.x")
	p.routes("b.x", "c.x", "d.x")
	if !strings.Contains(p.log.String(), "the token lost service_prefix") {
		t.Errorf("log:\n%s", p.log)
	}
	fails = nil
	p.have("c.x") // the right is back, and b.x is really gone
	p.routes("b.x", "c.x", "d.x")
	p.dueIn(testSettle)
	p.routes("c.x", "d.x")
}
