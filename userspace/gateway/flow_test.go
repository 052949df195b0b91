package gateway

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/userspace/flow"
	"sluice/userspace/poll"
	"sluice/userspace/relay"
)

// What the log will say of a flow.
func TestFlowIsDescribed(t *testing.T) {
	upstream := server(t, func(c *net.TCPConn) {
		io.Copy(io.Discard, c)
		c.Write([]byte("farewell"))
	})
	r := start(t, func(s *setup) {
		s.lead("api.test", upstream)
		s.lead("*.dc2.test", upstream)
	})
	type description struct {
		SNI, Route, Cluster, ALPN, Path, Detail string
		Version                                 uint16
		Local, Peer, Source, Upstream           string
		Attempts                                int
		Sent, Received                          uint64
		End                                     flow.End
	}
	for i, test := range []struct {
		name, sni, route, alpn string
		protocols              []string
	}{
		{"exact", "api.test", "api.test", "h2", []string{"h2", "http/1.1"}},
		{"wildcard", "web.default.dc2.test", "*.dc2.test", "consul~server", []string{"consul~server"}},
		{"upper case", "API.test", "api.test", "", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := r.dial()
			peer := c.LocalAddr().String()
			h := hello(t, test.sni, test.protocols...)
			c.send(h)
			c.send([]byte("and more"))
			c.CloseWrite()
			c.expect([]byte("farewell"))
			c.rest()
			f := r.ends(i + 1)[i]
			got := description{
				SNI: f.SNI, Route: f.Route.Name, Cluster: f.Cluster.Name, ALPN: f.ALPN, Path: f.Path, Detail: f.Detail,
				Version: f.Version, Local: f.Local.String(), Peer: f.Peer.String(), Source: f.Source.String(), Upstream: f.Upstream.String(),
				Attempts: f.Attempts, Sent: f.Sent.Load(), Received: f.Received.Load(), End: f.End,
			}
			want := description{
				SNI: strings.ToLower(test.sni), Route: test.route, Cluster: test.route, ALPN: test.alpn, Path: "splice", Detail: "by downstream",
				Version: tls.VersionTLS13, Local: r.Addrs()[0].String(), Peer: peer, Source: peer, Upstream: upstream.String(),
				Attempts: 1, Sent: uint64(len(h) + len("and more")), Received: uint64(len("farewell")), End: flow.Closed,
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("flow (-want +got):\n%s", diff)
			}
			if f.Duration <= 0 || time.Since(f.Start) < f.Duration {
				t.Errorf("began at %v and took %v", f.Start, f.Duration)
			}
		})
	}
}

// Live counts are what least request and the limits go by.
func TestLoadsAreCounted(t *testing.T) {
	one, two := echo(t), echo(t)
	r := start(t, func(s *setup) { s.lead("api.test", one, two) })
	h := hello(t, "api.test")
	var clients []*client
	for range 4 {
		c := r.open(h)
		c.expect(h)
		clients = append(clients, c)
	}
	// By round robin.
	checkCounts(t, r, one, 2)
	checkCounts(t, r, two, 2)
	if n := r.parts.Table.Load().Route("api.test").Load.Active.Load(); n != 4 {
		t.Errorf("the route counts %d flows, want 4", n)
	}
	if n := r.Active(); n != 4 {
		t.Errorf("%d flows are active, want 4", n)
	}
	for _, c := range clients {
		c.reset()
	}
	for _, f := range r.ends(4) {
		if f.End != flow.DownstreamReset {
			t.Errorf("ended as %v, want %v", f.End, flow.DownstreamReset)
		}
	}
	r.checkLoads()
}

// A server that resets is told from a client that does.
func TestUpstreamReset(t *testing.T) {
	h := hello(t, "api.test")
	r := start(t, func(s *setup) {
		s.lead("api.test", server(t, func(c *net.TCPConn) {
			io.ReadFull(c, make([]byte, len(h)))
			c.SetLinger(0)
		}))
	})
	r.open(h).expectCut()
	if f := r.ends(1)[0]; f.End != flow.UpstreamReset || f.Sent.Load() != uint64(len(h)) {
		t.Errorf("ended as %v (%s) with %d bytes sent", f.End, f.Detail, f.Sent.Load())
	}
}

// choosy is a path that carries what another would, unless it is told not to.
type choosy struct {
	Path
	refuses error
	closed  *int
}

func (choosy) Name() string             { return "choosy" }
func (c choosy) Admit(*flow.Flow) error { return c.refuses }
func (c choosy) Close()                 { *c.closed++; c.Path.Close() }

func TestPathIsChosen(t *testing.T) {
	for _, test := range []struct {
		name, setting string // the route's
		general       string // the gateway's
		overriding    string // the operator's
		refuses       error
		want          string
	}{
		{"the first one", "", "", "", nil, "choosy"},
		{"by name", "choosy", "", "", nil, "choosy"},
		{"by the gateway's setting", "", "splice", "", nil, "splice"},
		{"by the route's before the gateway's", "choosy", "splice", "", nil, "choosy"},
		{"by the operator's before the route's", "choosy", "choosy", "splice", nil, "splice"},
		{"the last one, by name", "splice", "", "", nil, "splice"},
		{"the last one, for the first refuses", "", "", "", errors.New("not this one"), "splice"},
		{"the last one, for the one named refuses", "choosy", "", "", errors.New("not this one"), "splice"},
		{"the last one, for there is none of that name", "wire", "", "", nil, "splice"},
	} {
		t.Run(test.name, func(t *testing.T) {
			closed := 0
			r := start(t, func(s *setup) {
				route, _ := s.lead("api.test", echo(t))
				route.Path = test.setting
				s.Path, s.override.Path = test.general, test.overriding
				s.paths = func(l *poll.Loop) ([]Path, error) {
					first, err := relay.New(l, 1)
					if err != nil {
						return nil, err
					}
					last, err := relay.New(l, 1)
					return []Path{choosy{first, test.refuses, &closed}, last}, err
				}
			})
			h := hello(t, "api.test")
			c := r.open(h)
			c.CloseWrite()
			c.expect(h)
			c.rest()
			if f := r.ends(1)[0]; f.Path != test.want || f.End != flow.Closed {
				t.Errorf("path %q, ended as %v; want %q", f.Path, f.End, test.want)
			}
			r.stop()
			if closed != 1 {
				t.Errorf("the path was closed %d times, want once", closed)
			}
		})
	}
}

// New frees what it has made when it fails half-way.
func TestNewFails(t *testing.T) {
	descriptorsReturn(t)
	broken := errors.New("no such luck")
	made := 0
	_, err := New(Config{Workers: 3}, Parts{Paths: func(l *poll.Loop) ([]Path, error) {
		if made++; made == 3 {
			return nil, broken
		}
		return splice(l)
	}})
	if !errors.Is(err, broken) {
		t.Errorf("New: %v, want %v", err, broken)
	}
}
