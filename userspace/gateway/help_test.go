package gateway

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"sluice/userspace/admission"
	"sluice/userspace/flow"
	"sluice/userspace/poll"
	"sluice/userspace/relay"
	"sluice/userspace/route"
)

// patience is how long a test waits for what must come. Only a broken gateway
// makes it wait so long.
const patience = 30 * time.Second

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

// TestMain makes the runtime open the descriptors that it keeps, so that tests
// can count those of the gateway.
func TestMain(m *testing.M) {
	if l, err := net.Listen("tcp", loopback.String()); err == nil {
		l.Close()
	}
	os.Exit(m.Run())
}

// eventually waits until ok is true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in %v: %s", patience, what)
		}
	}
}

// setup is what a test may change of a gateway before it starts.
type setup struct {
	Config
	limits   admission.Limits
	override route.Options // of the operator's, for all routes
	accounts func(string) flow.Account
	paths    func(*poll.Loop) ([]Path, error)
	noTable  bool
	outdated string // why the table does not count
	clusters []*route.Cluster
	routes   []*route.Route
}

// lead adds a route and a cluster of that name with these endpoints.
func (s *setup) lead(name string, to ...netip.AddrPort) (*route.Route, *route.Cluster) {
	c := &route.Cluster{Name: name}
	for _, a := range to {
		c.Endpoints = append(c.Endpoints, route.Endpoint{Addrs: []netip.AddrPort{a}})
	}
	r := &route.Route{Name: name, Cluster: name}
	s.clusters = append(s.clusters, c)
	s.routes = append(s.routes, r)
	return r, c
}

// rig is a gateway under test.
type rig struct {
	*Gateway
	t    *testing.T
	seen *recorder
	done chan error
}

// start runs a gateway until the test ends, and then checks that nothing of it
// is left: no flow, count or descriptor.
func start(t *testing.T, change func(*setup)) *rig {
	t.Helper()
	r := prepare(t, change)
	r.run()
	return r
}

// prepare is start without running it yet: it only listens.
func prepare(t *testing.T, change func(*setup)) *rig {
	t.Helper()
	descriptorsReturn(t)
	s := &setup{
		Config: Config{
			Listen:          []netip.AddrPort{loopback},
			Workers:         1,
			HelloTimeout:    patience,
			HelloMax:        16 << 10,
			ConnectTimeout:  patience,
			ConnectAttempts: 3,
		},
		paths: splice,
	}
	change(s)
	r := &rig{t: t, seen: &recorder{t: t}, done: make(chan error, 1)}
	store := new(route.Store)
	if !s.noTable {
		table, err := route.Replace(nil, "test", s.routes, s.clusters)
		if err != nil {
			t.Fatal(err)
		}
		store.Swap(table)
	}
	gate, err := admission.New(s.limits)
	if err != nil {
		t.Fatal(err)
	}
	r.Gateway, err = New(s.Config, Parts{
		Table: store, Gate: gate, Observer: r.seen, Paths: s.paths,
		Accounts: s.accounts, Outdated: func() string { return s.outdated }, Overrides: func(string) route.Options { return s.override }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func splice(l *poll.Loop) ([]Path, error) {
	s, err := relay.New(l, 0)
	return []Path{s}, err
}

func (r *rig) run() {
	go func() { r.done <- r.Run() }()
	r.t.Cleanup(r.stop)
}

// stop cuts what is left of the gateway and checks its books.
func (r *rig) stop() {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	r.Drain(now)
	if err := <-r.done; err != nil {
		r.t.Errorf("Run: %v", err)
	}
	r.done <- nil // for another stop
	if n := r.Active(); n != 0 {
		r.t.Errorf("%d flows are active after the end", n)
	}
	if n := r.parts.Gate.Flows(); n != 0 {
		r.t.Errorf("the gate counts %d flows after the end", n)
	}
	if told, begun := len(r.seen.flows()), int(r.nextID.Load()); told != begun {
		r.t.Errorf("of %d flows %d were told to the observer", begun, told)
	}
	r.checkLoads()
}

// checkLoads fails when a route or an endpoint counts flows that are over.
func (r *rig) checkLoads() {
	table := r.parts.Table.Load()
	if table == nil {
		return
	}
	for route := range table.Routes() {
		if n := route.Load.Active.Load(); n != 0 {
			r.t.Errorf("route %s counts %d flows after the end", route.Name, n)
		}
	}
	for cluster := range table.Clusters() {
		for _, e := range cluster.Endpoints {
			if n := e.Load.Active.Load(); n != 0 {
				r.t.Errorf("endpoint %s of %s counts %d flows after the end", e, cluster.Name, n)
			}
		}
	}
}

// inside calls f on the loop of each worker.
func (r *rig) inside(f func(*worker)) {
	r.t.Helper()
	for _, w := range r.workers {
		if err := w.loop.Do(r.t.Context(), func() { f(w) }); err != nil {
			r.t.Fatal(err)
		}
	}
}

// inStage waits until n connections have come that far.
func (r *rig) inStage(s stage, n int) {
	r.t.Helper()
	eventually(r.t, "connections in the stage", func() bool {
		found := 0
		r.inside(func(w *worker) {
			for c := range w.conns {
				if c.stage == s {
					found++
				}
			}
		})
		return found == n
	})
}

// ends waits until n flows have ended, and returns them.
func (r *rig) ends(n int) []*flow.Flow {
	r.t.Helper()
	eventually(r.t, "flows that end", func() bool { return len(r.seen.flows()) >= n })
	return r.seen.flows()
}

// recorder is an Observer that remembers.
type recorder struct {
	t        *testing.T
	mu       sync.Mutex
	ended    []*flow.Flow
	attempts int
	failures []error
	accepts  []error
	rtts     [][2]time.Duration
}

// Ended keeps a copy, for the flow is the gateway's.
func (o *recorder) Ended(f *flow.Flow) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if slices.ContainsFunc(o.ended, func(g *flow.Flow) bool { return g.ID == f.ID }) {
		o.t.Errorf("flow %d ended twice", f.ID)
	}
	if f.HelloIn < 0 || f.Connect < 0 || f.Duration < f.HelloIn+f.Connect {
		o.t.Errorf("flow %d took %v, its hello %v of it and the connect %v", f.ID, f.Duration, f.HelloIn, f.Connect)
	}
	if f.Start.IsZero() || time.Since(f.Start) > time.Hour {
		o.t.Errorf("flow %d began at %v", f.ID, f.Start)
	}
	g := &flow.Flow{
		ID: f.ID, Local: f.Local, Peer: f.Peer, Source: f.Source, Start: f.Start,
		SNI: f.SNI, ALPN: f.ALPN, Version: f.Version,
		Route: f.Route, Cluster: f.Cluster, Upstream: f.Upstream, Attempts: f.Attempts, Path: f.Path,
		HelloIn: f.HelloIn, Connect: f.Connect, Duration: f.Duration, End: f.End, Detail: f.Detail,
	}
	g.Sent.Store(f.Sent.Load())
	g.Received.Store(f.Received.Load())
	o.ended = append(o.ended, g)
}

func (o *recorder) flows() []*flow.Flow {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.ended)
}

func (o *recorder) ConnectAttempt() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.attempts++
}

func (o *recorder) ConnectFailure(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failures = append(o.failures, err)
}

func (o *recorder) RTT(downstream, upstream time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rtts = append(o.rtts, [2]time.Duration{downstream, upstream})
}

func (o *recorder) AcceptError(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.accepts = append(o.accepts, err)
}

// connects is how many were tried, and how those that failed did.
func (o *recorder) connects() (attempts int, failures []error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.attempts, slices.Clone(o.failures)
}

func (o *recorder) acceptErrors() []error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.accepts)
}

// descriptors is how many the process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// descriptorsReturn checks at the end of the test that no more are open than now.
func descriptorsReturn(t *testing.T) {
	t.Helper()
	before := descriptors(t)
	t.Cleanup(func() {
		eventually(t, "descriptors back to what they were", func() bool { return descriptors(t) <= before })
	})
}

// server calls f with each connection to an address of its own. It closes them,
// and all is over when the test ends.
func server(t *testing.T, f func(*net.TCPConn)) netip.AddrPort {
	t.Helper()
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(loopback))
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	t.Cleanup(func() { l.Close() })
	running.Go(func() {
		for {
			c, err := l.AcceptTCP()
			if errors.Is(err, net.ErrClosed) {
				return
			} else if err != nil {
				continue // out of descriptors, as a test may want it
			}
			c.SetDeadline(time.Now().Add(patience))
			running.Go(func() {
				defer c.Close()
				f(c)
			})
		}
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// echo returns what comes, until its end.
func echo(t *testing.T) netip.AddrPort {
	t.Helper()
	return server(t, func(c *net.TCPConn) {
		// As they are, io.Copy would splice them, by a pipe that it keeps.
		io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
	})
}
