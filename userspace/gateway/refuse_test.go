package gateway

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"sluice/userspace/flow"
	"sluice/userspace/route"
	"sluice/userspace/sni"
)

// refusals are what clients send that goes nowhere. Those without an alert are
// just closed.
var refusals = []struct {
	name   string
	send   func(*testing.T) []byte
	change func(*testing.T, *setup) // of a gateway that has a route api.test
	want   flow.End
	alert  byte
	detail string // part of it
	tries  int
}{
	{name: "unknown name", send: ask("other.test"), want: flow.UnknownName, alert: sni.AlertUnrecognizedName},
	{name: "no name", send: ask(""), want: flow.NoServerName, alert: sni.AlertMissingExtension},
	{name: "plain HTTP", send: text("GET / HTTP/1.1\r\nHost: api.test\r\n\r\n"), want: flow.NotTLS},
	{name: "junk", send: text("\x00\x01\x02\x03\x04\x05"), want: flow.NotTLS},
	{name: "one byte of junk", send: text("x"), want: flow.NotTLS},
	{name: "SSL 2.0 hello", send: text("\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10"), want: flow.BadVersion, alert: sni.AlertProtocolVersion},
	{name: "not a hello", send: text("\x16\x03\x01\x00\x04\x02\x00\x00\x00"), want: flow.BadHello, alert: sni.AlertDecodeError},
	{name: "malformed hello", send: text("\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03"), want: flow.BadHello, alert: sni.AlertDecodeError},
	{
		name: "hello over the limit", send: ask("api.test"), want: flow.HelloTooLarge, alert: sni.AlertRecordOverflow,
		change: func(_ *testing.T, s *setup) { s.HelloMax = 200 },
	},
	{
		name: "record over TLS's limit", send: text("\x16\x03\x01\xff\xff\x01"), want: flow.HelloTooLarge, alert: sni.AlertRecordOverflow,
	},
	{
		name: "no table", send: ask("api.test"), want: flow.NoTable, alert: sni.AlertInternalError,
		change: func(_ *testing.T, s *setup) { s.noTable = true },
	},
	{
		name: "table too old", send: ask("api.test"), want: flow.NoTable, alert: sni.AlertInternalError, detail: "away for 2h",
		change: func(_ *testing.T, s *setup) { s.outdated = "away for 2h" },
	},
	{
		name: "route that refuses", send: ask("api.test"), want: flow.RouteRefused, alert: sni.AlertAccessDenied,
		detail: "not over here",
		change: func(_ *testing.T, s *setup) { s.routes[0].Cluster, s.routes[0].Refuse = "", "not over here" },
	},
	{
		name: "no endpoint", send: ask("api.test"), want: flow.NoEndpoint, alert: sni.AlertInternalError,
		change: func(_ *testing.T, s *setup) { s.clusters[0].Endpoints = nil },
	},
	{
		name: "no healthy endpoint", send: ask("api.test"), want: flow.NoEndpoint, alert: sni.AlertInternalError,
		change: func(_ *testing.T, s *setup) {
			s.clusters[0].PanicThreshold = route.NoPanic
			s.clusters[0].Endpoints[0].Health = route.Critical
		},
	},
	{
		name: "refused by all endpoints", send: ask("api.test"), want: flow.ConnectFailed, alert: sni.AlertInternalError,
		detail: "connection refused", tries: 2,
		change: func(t *testing.T, s *setup) {
			s.routes, s.clusters = nil, nil
			s.lead("api.test", refusing(t), refusing(t))
		},
	},
}

// ask is a hello for a name; text is sent as it is.
func ask(name string) func(*testing.T) []byte {
	return func(t *testing.T) []byte { return hello(t, name) }
}

func text(s string) func(*testing.T) []byte {
	return func(*testing.T) []byte { return []byte(s) }
}

func TestRefusals(t *testing.T) {
	for _, test := range refusals {
		t.Run(test.name, func(t *testing.T) {
			r := start(t, func(s *setup) {
				s.lead("api.test", echo(t))
				if test.change != nil {
					test.change(t, s)
				}
			})
			c := r.open(test.send(t))
			if test.alert != 0 {
				c.expectAlert(test.alert)
			} else if b, _ := c.rest(); len(b) > 0 {
				t.Errorf("the client got % x, want nothing", b)
			}
			c.Close()
			f := r.ends(1)[0]
			if f.End != test.want || !f.End.Refused() {
				t.Errorf("ended as %v, want %v", f.End, test.want)
			}
			if !strings.Contains(f.Detail, test.detail) {
				t.Errorf("detail is %q, want %q in it", f.Detail, test.detail)
			}
			if f.Attempts != test.tries {
				t.Errorf("%d attempts, want %d", f.Attempts, test.tries)
			}
			if n := f.Sent.Load() + f.Received.Load(); n != 0 || f.Path != "" {
				t.Errorf("%d bytes were carried by %q", n, f.Path)
			}
			eventually(t, "no connection active", func() bool { return r.Active() == 0 })
		})
	}
}

// Clients must not only be sent alerts but understand them.
func TestAlertsReachTLSClients(t *testing.T) {
	says := map[byte]string{
		sni.AlertUnrecognizedName: "unrecognized name",
		sni.AlertMissingExtension: "missing extension",
		sni.AlertAccessDenied:     "access denied",
		sni.AlertInternalError:    "internal error",
		sni.AlertRecordOverflow:   "record overflow",
	}
	r := start(t, func(s *setup) {
		s.HelloMax = 4 << 10
		refused, _ := s.lead("refused.test")
		refused.Cluster, refused.Refuse = "", "no"
		s.lead("down.test", refusing(t))
	})
	for _, test := range []struct {
		server string
		alert  byte
		alpn   []string
	}{
		{"other.test", sni.AlertUnrecognizedName, nil},
		{"", sni.AlertMissingExtension, nil},
		{"refused.test", sni.AlertAccessDenied, nil},
		{"down.test", sni.AlertInternalError, nil},
		{"down.test", sni.AlertRecordOverflow, manyProtocols(100)},
	} {
		// More than once: a reset that overtakes an alert does not always.
		for range 10 {
			c := r.dial()
			err := tls.Client(c, &tls.Config{
				ServerName: test.server, NextProtos: test.alpn, InsecureSkipVerify: true,
			}).Handshake()
			if err == nil || !strings.Contains(err.Error(), "remote error: tls: "+says[test.alert]) {
				t.Fatalf("%q: the client says %v, want %q", test.server, err, says[test.alert])
			}
			c.Close()
		}
	}
}

// manyProtocols make a hello of n times 81 bytes and some.
func manyProtocols(n int) []string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("%04d%s", i, strings.Repeat("x", 76)))
	}
	return list
}

// A refused client that goes on sending gets the alert, and must not be listened
// to for ever.
func TestLingerEndsByBytes(t *testing.T) {
	r := start(t, func(*setup) {})
	c := r.open(hello(t, "other.test"))
	c.expect(sni.AppendAlert(nil, sni.AlertUnrecognizedName))
	sent, chunk := 0, make([]byte, 16<<10)
	for {
		n, err := c.Write(chunk)
		sent += n
		if err != nil {
			break // reset, as it should be
		}
		// What is taken is lingerBytes, and what the buffers on the way hold.
		if sent > 64<<20 {
			t.Fatalf("a refused client could send %d bytes", sent)
		}
	}
	if sent < lingerBytes-len(chunk) {
		t.Errorf("a refused client was cut after %d bytes, want %d", sent, lingerBytes)
	}
	eventually(t, "no connection active", func() bool { return r.Active() == 0 })
}

func TestLingerEndsByTime(t *testing.T) {
	r := start(t, func(*setup) {})
	c := r.open(hello(t, "other.test"))
	c.expectAlert(sni.AlertUnrecognizedName)
	eventually(t, "no connection active", func() bool { return r.Active() == 0 })
	f := r.ends(1)[0]
	if got := time.Since(f.Start); got < lingerTime {
		t.Errorf("let go after %v, want %v", got, lingerTime)
	}
	if f.Duration >= lingerTime {
		t.Errorf("the flow took %v: lingering is not part of it", f.Duration)
	}
}

// What a client has sent along with a refused hello, and what is on its way,
// must not turn the alert into a reset.
func TestAlertSurvivesMoreBytes(t *testing.T) {
	r := start(t, func(*setup) {})
	for range 20 {
		c := r.open(append(hello(t, "other.test"), bytes.Repeat([]byte("more"), 8<<10)...))
		c.Write(make([]byte, 32<<10))
		c.expectAlert(sni.AlertUnrecognizedName)
		c.Close()
	}
	r.ends(20)
}

// A hello that is refused though the kernel was told to wait for more of it.
func TestRefusalAfterPieces(t *testing.T) {
	r := start(t, func(*setup) {})
	h := hello(t, "other.test")
	c := r.open(h[:100])
	r.inStage(stageHello, 1)
	c.send(h[100:])
	c.expectAlert(sni.AlertUnrecognizedName)
	// Fewer bytes than the hello took wake it all the same, and so does the end.
	c.send([]byte("x"))
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no connection active", func() bool { return r.Active() == 0 })
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the client read %v after the alert, want EOF", err)
	}
}
