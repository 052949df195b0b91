// Package tests has what crosses packages: real gateways between a real client
// and a real server, in network namespaces of their own.
package tests

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"sluice/scripts/lab"
	"sluice/scripts/lab/labtest"
	"sluice/tests/harness"
)

func TestMain(m *testing.M) {
	if role, ok := os.LookupEnv(roleVariable); ok {
		os.Exit(play(role))
	}
	code := m.Run()
	harness.CleanUp()
	os.Exit(code)
}

// path is a way for flows to travel, with what is to be seen of it. A flow must not
// notice by which one it does.
type path struct {
	name       string   // that the log must have
	asks       string   // that routes ask for; "": the same
	flags      []string // of a gateway that has it
	layouts    []layout // for it, instead of the test's; nil: those
	carried    []string // series that grow when flows are carried
	disordered []string // those that grow when segments are lost, late or double, too
}

// paths are those that the suite runs over.
var paths = []path{
	{name: "splice"},
	{name: "sockmap", carried: []string{`sluice_sockmap_pieces_total{verdict="redirected"}`}},
	{
		name: "local", asks: "auto", flags: []string{"-local-acceleration", "force"}, layouts: local,
		carried: []string{`sluice_local_messages_total{verdict="redirected"}`},
	},
	{
		name: "local", asks: "auto", flags: []string{"-local-acceleration", "direct"}, layouts: direct,
		carried: []string{`sluice_local_messages_total{verdict="delivered"}`},
	},
}

const (
	serverName = "api.default.dc2.internal.test.consul"
	port       = 8443
	serverPort = 9000
)

// layout is where a site's gateways are and which addresses it uses.
type layout struct {
	name string
	hops int
	v6   bool
	// Who runs beside the gateway, in its namespace.
	clientHere, serverHere bool
}

var (
	oneHop  = layout{name: "one hop", hops: 1}
	oneHop6 = layout{name: "one hop, IPv6", hops: 1, v6: true}
	twoHops = layout{name: "two hops", hops: 2}

	local = []layout{
		{name: "client here", hops: 1, clientHere: true},
		{name: "server here", hops: 1, serverHere: true},
		{name: "both here", hops: 1, clientHere: true, serverHere: true},
		{name: "both here, IPv6", hops: 1, v6: true, clientHere: true, serverHere: true},
	}
)

// direct has messages put into the receivers' own queues.
var direct = []layout{
	{name: "direct", hops: 1, clientHere: true, serverHere: true},
	{name: "direct, IPv6", hops: 1, v6: true, clientHere: true, serverHere: true},
}

// wired are the layouts with a wire between a peer and the gateway.
func (l layout) wired() bool { return !l.clientHere || !l.serverHere }

// site is a client, one or two gateways in a row, and a server.
type site struct {
	*lab.Lab
	layout
	path     path
	anyPath  bool // some flows may take another one
	flags    []string
	gateways []*harness.Gateway
	server   *net.TCPListener
	hello    []byte
}

// newSite builds a lab of that layout and starts its gateways, with more flags.
func newSite(t *testing.T, p path, l layout, flags ...string) *site {
	t.Helper()
	chain := []string{"client", "dc1", "dc2", "server"}
	if l.hops == 1 {
		chain = []string{"client", "dc1", "server"}
	}
	s := &site{
		Lab:    labtest.New(t, chain...),
		layout: l,
		path:   p,
		flags:  slices.Concat(p.flags, flags),
		hello:  harness.Hello(serverName, 0),
	}
	// A server may have said all before its process has the connection.
	s.anyPath = s.serverHere && !s.clientHere
	s.server = s.listen(t, serverPort)
	next := s.server.Addr().String()
	for i := l.hops; i >= 1; i-- {
		g := s.start(t, i, next)
		s.gateways = append([]*harness.Gateway{g}, s.gateways...)
		next = g.Addr
	}
	return s
}

// start starts a gateway in the i-th namespace that leads to the address.
func (s *site) start(t *testing.T, i int, next string) *harness.Gateway {
	t.Helper()
	return harness.Start(t, s.Namespaces[i], harness.Config{
		Listen: s.addr(s.Namespaces[i], port),
		Routes: harness.Routes{serverName: {next}},
		Path:   cmp.Or(s.path.asks, s.path.name),
		Flags:  s.flags,
	})
}

// NS is the namespace of somebody in the chain.
func (s *site) NS(name string) *lab.Namespace {
	if name == "client" && s.clientHere || name == "server" && s.serverHere {
		name = "dc1"
	}
	return s.Lab.NS(name)
}

// addr is where a namespace listens, as those to its left see it.
func (s *site) addr(ns *lab.Namespace, port uint16) string {
	a := ns.Left.IPv4
	if s.v6 {
		a = ns.Left.IPv6
	}
	return netip.AddrPortFrom(a, port).String()
}

// listen opens one more port of the server.
func (s *site) listen(t *testing.T, port uint16) *net.TCPListener {
	t.Helper()
	ns := s.NS("server")
	l, err := ns.Listen("tcp", s.addr(ns, port))
	harness.Must(t, err)
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// flow is a connection through all gateways, seen from both ends.
type flow struct {
	client, server *net.TCPConn
}

// open makes a flow whose hello has arrived.
func (s *site) open(t testing.TB) flow {
	t.Helper()
	f := flow{client: s.dial(t)}
	_, err := f.client.Write(s.hello)
	harness.Must(t, err)
	f.server = accept(t, s.server)
	harness.Must(t, s.readHello(f.server))
	return f
}

func (s *site) dial(t testing.TB) *net.TCPConn {
	t.Helper()
	c, err := s.connect()
	harness.Must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// connect is dial for goroutines, which must not end the test.
func (s *site) connect() (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
	defer cancel()
	c, err := s.NS("client").Dial(ctx, "tcp", s.gateways[0].Addr)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), c.SetDeadline(time.Now().Add(2 * harness.Patience))
}

func accept(t testing.TB, l *net.TCPListener) *net.TCPConn {
	t.Helper()
	harness.Must(t, l.SetDeadline(time.Now().Add(harness.Patience)))
	c, err := l.AcceptTCP()
	harness.Must(t, err)
	t.Cleanup(func() { c.Close() })
	harness.Limit(t, c, 2*harness.Patience)
	return c
}

// readHello reads the hello that a flow begins with, and nothing after it.
func (s *site) readHello(c net.Conn) error {
	if err := harness.ReceiveBytes(c, s.hello); err != nil {
		return fmt.Errorf("read the hello: %w", err)
	}
	return nil
}

// overPaths runs a test over each path and each of the layouts.
func overPaths(t *testing.T, layouts []layout, test func(*testing.T, *site), flags ...string) {
	labtest.NeedRoot(t)
	for _, p := range paths {
		if p.layouts != nil {
			layouts = p.layouts
		}
		for _, l := range layouts {
			t.Run(p.name+", "+l.name, func(t *testing.T) { test(t, newSite(t, p, l, flags...)) })
		}
	}
}

// eachPath is overPaths, and expects of each gateway at the end that the flows took
// the path and that nothing is left of them.
func eachPath(t *testing.T, layouts []layout, test func(*testing.T, *site)) {
	overPaths(t, layouts, func(t *testing.T, s *site) {
		before := s.descriptors()
		test(t, s)
		s.wantNothingLeft(t, before)
	})
}

// descriptors are each gateway's.
func (s *site) descriptors() []harness.Descriptors {
	var all []harness.Descriptors
	for _, g := range s.gateways {
		all = append(all, g.Descriptors())
	}
	return all
}

// wantNothingLeft expects that all flows are over, that they took the path, and that
// nothing is left of them.
func (s *site) wantNothingLeft(t *testing.T, before []harness.Descriptors) {
	t.Helper()
	for i, g := range s.gateways {
		g.Idle()
		s.wantPath(t, g)
		wantAtRest(t, g, before[i])
	}
}

// quietTime is how long nothing must come where nothing should. Longer would find
// no more: what comes by mistake, comes at once.
const quietTime = 50 * time.Millisecond

// end is one end of a flow, with the seed of what it sends: 1 for the client, 2
// for the server.
type end struct {
	*net.TCPConn
	seed uint64
}

// sendAll sends n bytes in pieces of the given size and ends the stream.
func (e end) sendAll(n int64, piece int) error {
	if err := harness.Send(e, e.seed, n, piece); err != nil {
		return err
	}
	return e.CloseWrite()
}
