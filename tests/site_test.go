// Package tests has what crosses packages: real gateways between a real client
// and a real server, in network namespaces of their own.
package tests

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
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
	harness.RemoveBinary()
	os.Exit(code)
}

// paths are those that the suite runs over. A flow must not notice by which one
// it travels.
var paths = []string{"splice"}

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
}

var (
	oneHop  = layout{name: "one hop", hops: 1}
	oneHop6 = layout{name: "one hop, IPv6", hops: 1, v6: true}
	twoHops = layout{name: "two hops", hops: 2}
)

// site is a client, one or two gateways in a row, and a server.
type site struct {
	*lab.Lab
	layout
	gateways []*harness.Gateway
	server   net.Listener
	hello    []byte
}

// newSite builds a lab of that layout and starts its gateways.
func newSite(t *testing.T, l layout, flags ...string) *site {
	t.Helper()
	chain := []string{"client", "dc1", "dc2", "server"}
	if l.hops == 1 {
		chain = []string{"client", "dc1", "server"}
	}
	s := &site{Lab: labtest.New(t, chain...), layout: l, hello: harness.Hello(serverName, 0)}
	s.server = s.listen(t, serverPort)
	next := s.server.Addr().String()
	for i := l.hops; i >= 1; i-- {
		ns := s.Namespaces[i]
		g := harness.Start(t, ns, s.addr(ns, port), harness.Routes{serverName: {next}}, flags...)
		s.gateways = append([]*harness.Gateway{g}, s.gateways...)
		next = g.Addr
	}
	return s
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
func (s *site) listen(t *testing.T, port uint16) net.Listener {
	t.Helper()
	ns := s.NS("server")
	l, err := ns.Listen("tcp", s.addr(ns, port))
	harness.Must(t, err)
	t.Cleanup(func() { l.Close() })
	return l
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
	ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
	defer cancel()
	c, err := s.NS("client").Dial(ctx, "tcp", s.gateways[0].Addr)
	harness.Must(t, err)
	t.Cleanup(func() { c.Close() })
	harness.Limit(t, c, 2*harness.Patience)
	return c.(*net.TCPConn)
}

func accept(t testing.TB, l net.Listener) *net.TCPConn {
	t.Helper()
	c, err := l.Accept()
	harness.Must(t, err)
	t.Cleanup(func() { c.Close() })
	harness.Limit(t, c, 2*harness.Patience)
	return c.(*net.TCPConn)
}

// readHello reads the hello that a flow begins with, and nothing after it.
func (s *site) readHello(c net.Conn) error {
	if err := harness.ReceiveBytes(c, s.hello); err != nil {
		return fmt.Errorf("read the hello: %w", err)
	}
	return nil
}

// wantRecords expects the one flow of a test in every gateway's access log, with
// the bytes of payload each way that the test sent.
func (s *site) wantRecords(t *testing.T, reason string, sent, received int64) {
	t.Helper()
	for _, g := range s.gateways {
		r := g.Records(1)[0]
		if want := sent + int64(len(s.hello)); r.Sent != want || r.Received != received {
			t.Errorf("logged %d bytes sent and %d received, want %d and %d", r.Sent, r.Received, want, received)
		}
		wantEnd(t, r, reason)
	}
}

func wantEnd(t *testing.T, r harness.Record, reason string) {
	t.Helper()
	if r.Reason != reason || r.SNI != serverName || r.Attempts != 1 {
		t.Errorf("logged reason %q (%s), name %q, %d attempts; want reason %q, 1 attempt", r.Reason, r.Detail, r.SNI, r.Attempts, reason)
	}
}

// eachPath runs a test over each path and each of the layouts.
func eachPath(t *testing.T, layouts []layout, test func(*testing.T, *site)) {
	labtest.NeedRoot(t)
	for _, path := range paths {
		for _, l := range layouts {
			t.Run(path+", "+l.name, func(t *testing.T) {
				s := newSite(t, l)
				before := make([]int, len(s.gateways))
				for i, g := range s.gateways {
					before[i] = g.Descriptors()
				}
				test(t, s)
				for i, g := range s.gateways {
					g.Idle()
					wantPath(t, g, path)
					wantDescriptors(t, g, before[i])
				}
			})
		}
	}
}

// wantPath expects that every flow that was carried at all took the path.
func wantPath(t *testing.T, g *harness.Gateway, path string) {
	t.Helper()
	for _, r := range g.Records(0) {
		if r.Path != "" && r.Path != path {
			t.Errorf("flow by path %q, want %q", r.Path, path)
		}
	}
}

// wantDescriptors expects that nothing is left of the flows but the pool of pipes.
func wantDescriptors(t *testing.T, g *harness.Gateway, before int) {
	t.Helper()
	const pools = 2 * 2 * 64 // workers, descriptors of a pipe, pipes
	harness.Eventually(t, "a gateway that has closed its sockets", func() bool {
		return g.Descriptors() <= before+pools
	})
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

// sendAll sends n bytes and ends the stream.
func (e end) sendAll(n int64) error {
	if err := harness.Send(e, e.seed, n, 64<<10); err != nil {
		return err
	}
	return e.CloseWrite()
}
