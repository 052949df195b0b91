package gateway

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/pires/go-proxyproto"

	"sluice/userspace/admission"
	"sluice/userspace/flow"
)

var loopbacks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

const line1 = "PROXY TCP4 192.0.2.7 198.51.100.1 5555 443\r\n"

// header2 is a version 2 header of a connection from an address.
func header2(t *testing.T, source string) []byte {
	t.Helper()
	from, to := netip.MustParseAddrPort(source), netip.MustParseAddrPort("198.51.100.1:443")
	if from.Addr().Is6() {
		to = netip.MustParseAddrPort("[2001:db8::1]:443")
	}
	b, err := proxyproto.HeaderProxyFromAddrs(2, net.TCPAddrFromAddrPort(from), net.TCPAddrFromAddrPort(to)).Format()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A header names the source, and is not passed on.
func TestHeaderIn(t *testing.T) {
	h := hello(t, "api.test")
	local, err := (&proxyproto.Header{Version: 2, Command: proxyproto.LOCAL}).Format()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		header []byte
		source string // "" for the peer
	}{
		{"version 1", []byte(line1), "192.0.2.7:5555"},
		{"version 1, IPv6", []byte("PROXY TCP6 2001:db8::7 2001:db8::1 5555 443\r\n"), "[2001:db8::7]:5555"},
		{"version 1, unknown", []byte("PROXY UNKNOWN\r\n"), ""},
		{"version 2", header2(t, "192.0.2.7:5555"), "192.0.2.7:5555"},
		{"version 2, IPv6", header2(t, "[2001:db8::7]:5555"), "[2001:db8::7]:5555"},
		{"version 2, local", local, ""},
	} {
		for way, send := range map[string]func(*client){
			"with the hello": func(c *client) { c.send(append(bytes.Clone(test.header), h...)) },
			"by the byte":    func(c *client) { c.bytewise(append(bytes.Clone(test.header), h...)) },
			"alone": func(c *client) {
				c.send(test.header)
				c.send(h)
			},
			"in a piece, and the rest with the hello": func(c *client) {
				c.send(test.header[:8])
				c.send(append(bytes.Clone(test.header[8:]), h...))
			},
		} {
			t.Run(test.name+" "+way, func(t *testing.T) {
				r := start(t, func(s *setup) {
					s.ProxyFrom = loopbacks
					s.lead("api.test", echo(t))
				})
				c := r.dial()
				peer := c.LocalAddr().String()
				send(c)
				c.CloseWrite()
				c.expect(h)
				c.rest()
				want := test.source
				if want == "" {
					want = peer
				}
				f := r.ends(1)[0]
				if f.End != flow.Closed || f.Source.String() != want || f.Peer.String() != peer {
					t.Errorf("ended as %v, source %v, peer %v; want source %s, peer %s", f.End, f.Source, f.Peer, want, peer)
				}
				if n := f.Sent.Load(); n != uint64(len(h)) {
					t.Errorf("%d bytes sent, want the hello's %d", n, len(h))
				}
			})
		}
	}
}

func TestHeaderRefused(t *testing.T) {
	h := hello(t, "api.test")
	for _, test := range []struct {
		name  string
		send  []byte
		trust []netip.Prefix
		end   bool
		want  flow.End
	}{
		{"missing", h, loopbacks, false, flow.BadProxyHeader},
		{"malformed", []byte("PROXY TCP4 192.0.2.7 nonsense 1 2\r\n"), loopbacks, false, flow.BadProxyHeader},
		{"endless", bytes.Repeat([]byte("PROXY "), 40), loopbacks, false, flow.BadProxyHeader},
		{"too long", []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff"), loopbacks, false, flow.BadProxyHeader},
		{"of another kind", []byte("GET / HTTP/1.1\r\n\r\n"), loopbacks, false, flow.BadProxyHeader},
		{"cut off", []byte(line1[:20]), loopbacks, true, flow.ClientGone},
		{"nothing after it", []byte(line1), loopbacks, true, flow.Probe},
		{"no hello after it", []byte(line1 + "GET /"), loopbacks, false, flow.NotTLS},
		{"another header after it", []byte(line1 + line1), loopbacks, false, flow.NotTLS},
		{"from a peer not trusted", append([]byte(line1), h...), nil, false, flow.NotTLS},
		{"version 2 from a peer not trusted", append(header2(t, "192.0.2.7:1"), h...), nil, false, flow.NotTLS},
		{"denied source", append([]byte(line1), h...), loopbacks, false, flow.Denied},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := start(t, func(s *setup) {
				s.ProxyFrom = test.trust
				if test.want == flow.Denied {
					s.limits.Deny = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
				}
				s.lead("api.test", echo(t))
			})
			c := r.open(test.send)
			if test.end {
				c.CloseWrite()
			}
			if b, _ := c.rest(); len(b) > 0 {
				t.Errorf("the client got % x, want nothing", b)
			}
			if f := r.ends(1)[0]; f.End != test.want {
				t.Errorf("ended as %v (%s), want %v", f.End, f.Detail, test.want)
			}
		})
	}
}

// Limits hold for whom the header names: the peer is a proxy with many clients.
func TestLimitsGoByHeader(t *testing.T) {
	r := start(t, func(s *setup) {
		s.ProxyFrom = loopbacks
		s.limits = admission.Limits{MaxPerSource: 1, Deny: loopbacks}
		s.lead("api.test", echo(t))
	})
	h := hello(t, "api.test")
	one := r.open(append(header2(t, "192.0.2.7:1"), h...))
	one.expect(h)
	other := r.open(append(header2(t, "192.0.2.8:1"), h...))
	other.expect(h)
	again := r.open(append(header2(t, "192.0.2.7:2"), h...))
	again.rest()
	if f := r.ends(1)[0]; f.End != flow.LimitSource || f.Source.String() != "192.0.2.7:2" {
		t.Errorf("ended as %v for %v", f.End, f.Source)
	}
	one.reset()
	r.ends(2)
	eventually(t, "room for another flow", func() bool { return r.parts.Gate.Flows() == 1 })
	r.open(append(header2(t, "192.0.2.7:3"), h...)).expect(h)
}

// What the server gets where the cluster asks for a header.
func TestHeaderOut(t *testing.T) {
	type heard struct {
		header *proxyproto.Header
		rest   []byte
		err    error
	}
	h := append(hello(t, "web.api.test"), "and more"...)
	for _, test := range []struct {
		name, listen string
		header       []byte // from the client
		source       string // "" for the client itself
	}{
		{"IPv4", "127.0.0.1:0", nil, ""},
		{"IPv6", "[::1]:0", nil, ""},
		{"any IPv4 address", "0.0.0.0:0", nil, ""},
		{"any IPv6 address", "[::]:0", nil, ""},
		{"passed on from another proxy", "127.0.0.1:0", []byte(line1), "192.0.2.7:5555"},
		{"passed on, IPv6 by IPv4", "127.0.0.1:0", header2(t, "[2001:db8::7]:5555"), "[2001:db8::7]:5555"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := make(chan heard, 1)
			upstream := server(t, func(c *net.TCPConn) {
				var it heard
				b := bufio.NewReader(c)
				if it.header, it.err = proxyproto.Read(b); it.err == nil {
					it.rest, it.err = io.ReadAll(b)
				}
				got <- it
			})
			r := start(t, func(s *setup) {
				s.Listen = []netip.AddrPort{netip.MustParseAddrPort(test.listen)}
				if test.header != nil {
					s.ProxyFrom = loopbacks
				}
				_, cluster := s.lead("*.api.test", upstream)
				cluster.SendProxy = true
			})
			addr := r.Addrs()[0]
			switch addr.Addr() {
			case netip.IPv4Unspecified():
				addr = netip.AddrPortFrom(loopback.Addr(), addr.Port())
			case netip.IPv6Unspecified():
				addr = netip.AddrPortFrom(netip.IPv6Loopback(), addr.Port())
			}
			c := dialFrom(t, netip.AddrPort{}, addr)
			c.send(append(bytes.Clone(test.header), h...))
			c.CloseWrite()
			c.rest()
			it := <-got
			if it.err != nil {
				t.Fatal(it.err)
			}
			want := test.source
			if want == "" {
				want = c.LocalAddr().String()
			}
			if got := it.header.SourceAddr.String(); got != want {
				t.Errorf("the server is told of %s, want %s", got, want)
			}
			dest := it.header.DestinationAddr.(*net.TCPAddr).AddrPort()
			if netip.AddrPortFrom(dest.Addr().Unmap(), dest.Port()) != addr {
				t.Errorf("the server is told of a connection to %s, want %s", dest, addr)
			}
			tlvs, err := it.header.TLVs()
			if err != nil || it.header.Version != 2 {
				t.Errorf("version %d, error in extensions: %v", it.header.Version, err)
			}
			if len(tlvs) != 1 || tlvs[0].Type != proxyproto.PP2_TYPE_AUTHORITY || string(tlvs[0].Value) != "web.api.test" {
				t.Errorf("extensions %v, want the server name", tlvs)
			}
			if !bytes.Equal(it.rest, h) {
				t.Errorf("after the header the server got %d bytes, want the hello and all after it, %d", len(it.rest), len(h))
			}
			if f := r.ends(1)[0]; f.Local != addr || f.Sent.Load() != uint64(len(h)) {
				t.Errorf("local address %v, %d bytes sent; want %v, %d", f.Local, f.Sent.Load(), addr, len(h))
			}
		})
	}
}
