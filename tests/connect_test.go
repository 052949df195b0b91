package tests

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"sluice/scripts/lab/pki"
	"sluice/tests/harness"
)

// alert is what a client gets that is refused with a TLS alert of the code.
func alert(code byte) []byte { return []byte{21, 3, 1, 0, 2, 2, code} }

const (
	internalError    = 80
	unrecognizedName = 112
)

// refused expects an alert, and then the end of the stream.
func (s *site) refused(t *testing.T, hello []byte, code byte) {
	t.Helper()
	c := s.dial(t)
	_, err := c.Write(hello)
	harness.Must(t, err)
	harness.Must(t, harness.ReceiveBytes(c, alert(code)))
	harness.Must(t, harness.End(c))
	c.Close()
}

func TestUnknownName(t *testing.T) {
	eachPath(t, everywhere, func(t *testing.T, s *site) {
		s.refused(t, harness.Hello("nobody.test.consul", 0), unrecognizedName)
		if r := s.gateways[0].Records(1)[0]; r.Reason != "unknown_name" || r.SNI != "nobody.test.consul" {
			t.Errorf("logged %+v", r)
		}
	})
}

func TestEndpointRefuses(t *testing.T) {
	eachPath(t, []layout{oneHop, oneHop6}, func(t *testing.T, s *site) {
		s.server.Close()
		s.refused(t, s.hello, internalError)
		g := s.gateways[0]
		if r := g.Records(1)[0]; r.Reason != "connect_failed" || r.Attempts != 1 {
			t.Errorf("logged %+v", r)
		}
		if n := g.Metric(`sluice_connect_failures_total{reason="refused"}`); n != 1 {
			t.Errorf("%v refused connects counted, want 1", n)
		}
	})
}

// TestNextEndpoint has one endpoint dead, in different ways, and one alive: every
// flow must come to the latter.
func TestNextEndpoint(t *testing.T) {
	for _, c := range []struct {
		name, reason string
		kill         func(*testing.T, *site) (dead string)
	}{
		{"refused", "refused", func(t *testing.T, s *site) string {
			return s.addr(s.NS("server"), serverPort+1)
		}},
		{"black hole", "timeout", func(t *testing.T, s *site) string { return s.blackHole(t) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachPath(t, []layout{oneHop, oneHop6}, func(t *testing.T, s *site) {
				s.gateways[0].ConnectTimeout = 300 * time.Millisecond
				s.gateways[0].Reroute(harness.Routes{serverName: {c.kill(t, s), s.server.Addr().String()}})
				const flows = 4
				for range flows {
					harness.All(t, bothWays(s.open(t), 10_000, 9000, 1000)...)
				}
				retried := 0
				for _, r := range s.gateways[0].Records(flows) {
					if r.Reason != "closed" || r.Attempts > 2 {
						t.Errorf("logged %+v", r)
					}
					retried += r.Attempts - 1
				}
				failures := s.gateways[0].Metric(fmt.Sprintf("sluice_connect_failures_total{reason=%q}", c.reason))
				if retried == 0 || failures != float64(retried) {
					t.Errorf("%d flows came by a second attempt, %v failures counted", retried, failures)
				}
			})
		})
	}
}

// blackHole is an address of the server's that never answers gateway 0.
func (s *site) blackHole(t *testing.T) string {
	t.Helper()
	addr := s.Lab.NS("server").Left.More[0]
	if s.v6 {
		addr = s.Lab.NS("server").Left.More[1]
	}
	_, err := s.NS("dc1").BlackHole(addr)
	harness.Must(t, err)
	return netip.AddrPortFrom(addr, serverPort).String()
}

// TestHelloInPieces sends hellos as no client should and some do.
func TestHelloInPieces(t *testing.T) {
	large := harness.Hello(serverName, 14<<10)
	small := harness.Hello(serverName, 0)
	for _, c := range []struct {
		name  string
		hello []byte
		piece int
	}{
		{"single bytes", small, 1},
		{"several segments of a large hello", large, 1000},
		{"several records", cutRecords(small, 100), len(small) * 2},
		{"several records in single bytes", cutRecords(small, 300), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachPath(t, []layout{oneHop, twoHops}, func(t *testing.T, s *site) {
				s.hello = c.hello
				f := flow{client: s.dial(t)}
				for rest := c.hello; len(rest) > 0; {
					n, err := f.client.Write(rest[:min(c.piece, len(rest))])
					harness.Must(t, err)
					rest = rest[n:]
				}
				f.server = accept(t, s.server)
				harness.Must(t, s.readHello(f.server))
				harness.All(t, bothWays(f, 100_000, 90_000, 1000)...)
				s.wantRecords(t, "closed", 100_000, 90_000)
			})
		})
	}
}

// cutRecords puts the one record of a hello into records of n bytes.
func cutRecords(hello []byte, n int) []byte {
	const header = 5
	var out []byte
	for body := hello[header:]; len(body) > 0; {
		k := min(n, len(body))
		out = append(out, hello[0], hello[1], hello[2], byte(k>>8), byte(k))
		out, body = append(out, body[:k]...), body[k:]
	}
	return out
}

// TestTLS has real mTLS, with certificates as Consul issues them, pass the gateways.
func TestTLS(t *testing.T) {
	eachPath(t, []layout{twoHops}, func(t *testing.T, s *site) {
		ca, err := pki.New()
		harness.Must(t, err)
		server, err := ca.Leaf("api", "dc2")
		harness.Must(t, err)
		client, err := ca.Leaf("web", "dc1")
		harness.Must(t, err)
		for _, g := range s.gateways {
			next := s.server.Addr().String()
			if g == s.gateways[0] && s.hops > 1 {
				next = s.gateways[1].Addr
			}
			g.Reroute(harness.Routes{ca.SNI("api", "dc2"): {next}})
		}
		const n = 4 << 20
		c := tls.Client(s.dial(t), client.ClientTLS(ca.SNI("api", "dc2")))
		harness.All(t,
			func() error { return talkTLS(c, 1, 2, n) },
			func() error { return serveTLS(s.server, server.ServerTLS(), n) })
		last := s.hops - 1
		first, second := s.gateways[0].Records(1)[0], s.gateways[last].Records(1)[0]
		if first.Sent != second.Sent || first.Received != second.Received {
			t.Errorf("%d bytes sent and %d received by the first gateway, %d and %d by the last",
				first.Sent, first.Received, second.Sent, second.Received)
		}
	})
}

// talkTLS sends and receives n bytes at once, each stream with its end.
func talkTLS(c *tls.Conn, sends, receives uint64, n int64) error {
	sent := make(chan error, 1)
	go func() { sent <- errors.Join(harness.Send(c, sends, n, 16<<10), c.CloseWrite()) }()
	return errors.Join(receiveAll(c, receives, n), <-sent, c.Close())
}

func serveTLS(l net.Listener, conf *tls.Config, n int64) error {
	raw, err := l.Accept()
	if err != nil {
		return err
	}
	if err := raw.SetDeadline(time.Now().Add(harness.Patience)); err != nil {
		return err
	}
	return talkTLS(tls.Server(raw, conf), 2, 1, n)
}

// TestTakeOver starts a second gateway on the address of the first, which then
// drains: no client may find nobody there, and no flow may be cut.
func TestTakeOver(t *testing.T) {
	overPaths(t, []layout{oneHop}, func(t *testing.T, s *site) {
		// Or the kernel resets who connected to the old one and has not spoken yet.
		harness.Must(t, s.NS("dc1").Sysctl("net.ipv4.tcp_migrate_req", "1"))
		first := s.gateways[0]
		old := s.open(t)
		s.gateways[0] = s.start(t, 1, s.server.Addr().String())
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			first.Stop()
		}()
		for i := range 50 {
			f := s.open(t)
			if err := errors.Join(harness.Send(f.client, 3, 10, 10), harness.Receive(f.server, 3, 10)); err != nil {
				t.Fatalf("flow %d: %v", i, err)
			}
			f.client.Close()
			f.server.Close()
		}
		harness.All(t, bothWays(old, 1<<20, 1<<20, 64<<10)...)
		<-drained
	}, "-share-ports")
}
