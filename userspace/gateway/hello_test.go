package gateway

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
	"sluice/userspace/sni"
)

// However a hello arrives, it and what follows it come out on the other side
// exactly as they were sent.
func TestHelloArrives(t *testing.T) {
	whole := hello(t, "api.test", "h2")
	many := inRecords(whole, 100)
	long := hello(t, "api.test", manyProtocols(100)...)
	longest := hello(t, "api.test", manyProtocols(750)...) // in records of TLS's largest size
	half := len(whole) / 2
	for _, test := range []struct {
		name string
		send func(*client)
		all  []byte
	}{
		{"at once", func(c *client) { c.send(whole) }, whole},
		{"by the byte", func(c *client) { c.bytewise(whole) }, whole},
		{"in many records", func(c *client) { c.send(many) }, many},
		{"in many records by the byte", func(c *client) { c.bytewise(many) }, many},
		{"in a record for each byte", func(c *client) { c.send(inRecords(whole, 1)) }, inRecords(whole, 1)},
		{"longer than a segment", func(c *client) { c.send(long) }, long},
		{"of 60 KiB", func(c *client) { c.send(longest) }, longest},
		{
			"of 60 KiB in segments",
			func(c *client) {
				for piece := range slices.Chunk(longest, 500) {
					c.send(piece)
				}
			},
			longest,
		},
		{"with more behind it", func(c *client) { c.send(append(bytes.Clone(whole), "more"...)) }, append(bytes.Clone(whole), "more"...)},
		{
			"in two pieces, with more behind the second",
			func(c *client) {
				c.send(whole[:half])
				time.Sleep(10 * time.Millisecond) // so that it is most likely seen alone
				c.send(append(bytes.Clone(whole[half:]), "more"...))
			},
			append(bytes.Clone(whole), "more"...),
		},
		{
			"with much more behind it",
			func(c *client) { c.send(append(bytes.Clone(whole), make([]byte, 1<<20)...)) },
			append(bytes.Clone(whole), make([]byte, 1<<20)...),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := start(t, func(s *setup) {
				s.HelloMax = sni.LargestMax
				s.lead("api.test", echo(t))
			})
			for _, end := range []string{"with the end at once", "with the end later"} {
				c := r.dial()
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					test.send(c)
					if end == "with the end at once" {
						c.CloseWrite()
					}
				}()
				if end == "with the end later" {
					c.expect(test.all)
					<-sent
					c.CloseWrite()
				} else {
					got, _ := c.rest()
					<-sent
					if !bytes.Equal(got, test.all) {
						t.Fatalf("%s: %d bytes came back, not those %d sent", end, len(got), len(test.all))
					}
				}
				if _, reset := c.rest(); reset {
					t.Fatalf("%s: the client was reset", end)
				}
				c.Close()
			}
			for _, f := range r.ends(2) {
				if want := uint64(len(test.all)); f.End != flow.Closed || f.Sent.Load() != want || f.Received.Load() != want {
					t.Errorf("ended as %v with %d bytes sent and %d received, want %d", f.End, f.Sent.Load(), f.Received.Load(), want)
				}
			}
		})
	}
}

// A real handshake, and all that follows it, with a server that is not Sluice's.
func TestTLSEndToEnd(t *testing.T) {
	r := start(t, func(s *setup) { s.lead("example.com", webServer(t)) })
	for range 3 {
		c := tls.Client(r.dial(), &tls.Config{ServerName: "example.com", InsecureSkipVerify: true})
		fmt.Fprint(c, "GET / HTTP/1.0\r\n\r\n")
		answer, err := io.ReadAll(c)
		if err != nil || !bytes.Contains(answer, []byte("hello from the far side")) {
			t.Fatalf("got %q, error %v", answer, err)
		}
		c.Close()
	}
	for _, f := range r.ends(3) {
		if f.Version != tls.VersionTLS13 || f.End.Refused() {
			t.Errorf("ended as %v (%s), TLS version %x", f.End, f.Detail, f.Version)
		}
	}
}

func webServer(t *testing.T) netip.AddrPort {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "hello from the far side")
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).AddrPort()
}

// After a hello in pieces the kernel must not go on to wait for as many bytes.
func TestSingleBytesAfterHello(t *testing.T) {
	r := start(t, func(s *setup) { s.lead("api.test", echo(t)) })
	c := r.dial()
	h := hello(t, "api.test")
	c.send(h[:10])
	r.inside(func(*worker) {}) // has most likely seen it
	c.send(h[10:])
	c.expect(h)
	for i := range 20 {
		b := []byte{byte(i)}
		c.send(b)
		c.expect(b)
	}
	r.inside(func(w *worker) {
		for c := range w.conns {
			if n, err := unix.GetsockoptInt(c.down.Sys, unix.SOL_SOCKET, unix.SO_RCVLOWAT); n != 1 || err != nil {
				t.Errorf("SO_RCVLOWAT is %d (error: %v), want 1", n, err)
			}
		}
	})
}

// A hello in pieces is looked at once for each need, not for each byte.
func TestTrickleWakesSeldom(t *testing.T) {
	r := start(t, func(s *setup) { s.lead("api.test", echo(t)) })
	h := hello(t, "api.test")
	c := r.open(h[:5]) // says how long the record is
	r.inStage(stageHello, 1)
	forget := func(w *worker) {
		for c := range w.conns {
			c.lowWater = false // set again by every look at the hello
		}
	}
	r.inside(func(*worker) {})
	r.inside(forget)
	c.bytewise(h[5 : len(h)-1])
	r.inside(func(*worker) {}) // a round of the loop, in which it would be woken
	r.inside(func(w *worker) {
		for c := range w.conns {
			if c.lowWater {
				t.Error("the hello was looked at before it was whole")
			}
			c.lowWater = true
		}
	})
	c.bytewise(h[len(h)-1:])
	c.expect(h)
}

func TestHelloTimeout(t *testing.T) {
	const timeout = 300 * time.Millisecond
	h := hello(t, "api.test")
	for _, test := range []struct {
		name string
		send func(*client)
	}{
		{"half a hello", func(c *client) { c.send(h[:len(h)/2]) }},
		// The kernel keeps it for a second before it is accepted (TCP_DEFER_ACCEPT).
		{"nothing", func(*client) {}},
		{"slow loris", func(c *client) {
			for i := range h {
				if _, err := c.Write(h[i : i+1]); err != nil {
					return
				}
				time.Sleep(timeout / 20)
			}
			t.Error("a hello may take longer than the timeout")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := start(t, func(s *setup) {
				s.HelloTimeout = timeout
				s.lead("api.test", echo(t))
			})
			c := r.dial()
			test.send(c)
			if b, _ := c.rest(); len(b) > 0 {
				t.Errorf("the client got % x, want nothing", b)
			}
			if f := r.ends(1)[0]; f.End != flow.HelloTimeout || f.Duration < timeout {
				t.Errorf("ended as %v after %v, want %v after %v", f.End, f.Duration, flow.HelloTimeout, timeout)
			}
		})
	}
}

func TestClientGoneInHello(t *testing.T) {
	h := hello(t, "api.test")
	for _, test := range []struct {
		name string
		act  func(*rig)
		want flow.End
	}{
		{"ends in the hello", func(r *rig) {
			c := r.open(h[:len(h)/2])
			c.CloseWrite()
			if b, _ := c.rest(); len(b) > 0 {
				t.Errorf("the client got % x, want nothing", b)
			}
		}, flow.ClientGone},
		{"ends in the hello, later", func(r *rig) {
			c := r.open(h[:len(h)/2])
			r.inStage(stageHello, 1)
			c.CloseWrite()
			c.rest()
		}, flow.ClientGone},
		{"ends before the hello", func(r *rig) { r.dial().CloseWrite() }, flow.Probe},
		{"resets in the hello", func(r *rig) {
			c := r.open(h[:len(h)/2])
			r.inStage(stageHello, 1)
			c.reset()
		}, flow.ClientGone},
		{"resets in the first record header", func(r *rig) {
			c := r.open(h[:3])
			r.inStage(stageHello, 1)
			c.reset()
		}, flow.ClientGone},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := start(t, func(s *setup) { s.lead("api.test", echo(t)) })
			r.t = t
			test.act(r)
			if f := r.ends(1)[0]; f.End != test.want {
				t.Errorf("ended as %v (%s), want %v", f.End, f.Detail, test.want)
			}
			eventually(t, "no connection active", func() bool { return r.Active() == 0 })
		})
	}
}
