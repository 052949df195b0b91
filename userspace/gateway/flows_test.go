package gateway

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/userspace/flow"
	"sluice/userspace/poll"
	"sluice/userspace/relay"
	"sluice/userspace/route"
)

// list returns the flows of the selection by their ids, and fails when one comes twice
// or a turn is too long.
func (r *rig) list(which Selection) map[uint64]Live {
	r.t.Helper()
	all := map[uint64]Live{}
	err := r.Flows(r.t.Context(), which, func(batch []Live) error {
		if len(batch) == 0 || len(batch) > flowsTurn {
			r.t.Errorf("%d flows in a turn", len(batch))
		}
		for _, l := range batch {
			if _, twice := all[l.ID]; twice {
				r.t.Errorf("flow %d came twice", l.ID)
			}
			all[l.ID] = l
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

func localAddr(c net.Conn) netip.AddrPort { return c.LocalAddr().(*net.TCPAddr).AddrPort() }

// TestFlowsTellEverything has a flow in each state, and looks at all that is told.
func TestFlowsTellEverything(t *testing.T) {
	up, hole := echo(t), hole(t)
	r := start(t, func(s *setup) {
		s.Workers = 2
		s.lead("api.test", up)
		s.lead("hole.test", hole)
	})
	h := hello(t, "api.test")
	carried := r.open(h)
	carried.expect(h)
	r.inStage(stageCarried, 1)
	half := r.open(h[:20])
	r.inStage(stageHello, 1)
	connecting := r.open(hello(t, "hole.test"))
	r.inStage(stageConnect, 1)

	clients := map[string]net.Conn{"carried": carried, "hello": half, "connecting": connecting}
	unknown := hello(t, "nobody.test")
	got := map[string]Live{}
	eventually(t, "a flow in each state", func() bool {
		// A refused one does not stay for long.
		clients["refusing"] = r.open(unknown)
		for _, l := range r.list(Selection{}) {
			got[l.State] = l
		}
		return len(got) == 4 && got["refusing"].Peer == localAddr(clients["refusing"])
	})
	for state, client := range clients {
		l := got[state]
		if l.Peer != localAddr(client) || l.Source != l.Peer || l.Local != r.Addrs()[0] || l.Start.IsZero() || l.Active.Before(l.Start) {
			t.Errorf("%s: %+v, of %s", state, l, localAddr(client))
		}
	}
	n := uint64(len(h))
	if l := got["carried"]; l.SNI != "api.test" || l.Route.Name != "api.test" || l.Cluster.Name != "api.test" ||
		l.Endpoint.String() != up.String() || l.Upstream != up || l.Path != "splice" || l.Sent != n || l.Received != n ||
		l.From.Addr() != loopback.Addr() || l.From.Port() == 0 {
		t.Errorf("carried: %+v", l)
	}
	if l := got["hello"]; l.SNI != "" || l.Route != nil || l.Path != "" || l.Upstream.IsValid() || l.From.IsValid() {
		t.Errorf("in its hello: %+v", l)
	}
	if l := got["connecting"]; l.Route.Name != "hole.test" || l.Upstream != hole || l.From.Port() == 0 {
		t.Errorf("connecting: %+v", l)
	}
	if l := got["refusing"]; l.SNI != "nobody.test" || l.Refused != flow.UnknownName || l.Route != nil {
		t.Errorf("refusing: %+v", l)
	}
}

func TestSelection(t *testing.T) {
	f := &flow.Flow{ID: 7, Source: netip.MustParseAddrPort("10.1.2.3:999"), Route: &route.Route{Name: "api.test"}}
	mapped := &flow.Flow{ID: 7, Source: netip.MustParseAddrPort("[::ffff:10.1.2.3]:999")}
	in := netip.MustParsePrefix
	for _, test := range []struct {
		name  string
		which Selection
		f     *flow.Flow
		want  bool
	}{
		{"all", Selection{}, f, true},
		{"id", Selection{ID: 7}, f, true},
		{"other id", Selection{ID: 8}, f, false},
		{"route", Selection{Route: "api.test"}, f, true},
		{"other route", Selection{Route: "*.test"}, f, false},
		{"no route yet", Selection{Route: "api.test"}, mapped, false},
		{"source", Selection{Source: in("10.0.0.0/8")}, f, true},
		{"mapped source", Selection{Source: in("10.0.0.0/8")}, mapped, true},
		{"other source", Selection{Source: in("10.1.2.4/32")}, f, false},
		{"other family", Selection{Source: in("::/0")}, f, false},
		{"all three", Selection{7, "api.test", in("10.1.2.3/32")}, f, true},
		{"one of three wrong", Selection{7, "api.test", in("10.1.2.4/32")}, f, false},
	} {
		if got := test.which.Has(test.f); got != test.want {
			t.Errorf("%s: %t, want %t", test.name, got, test.want)
		}
	}
}

// TestFlowsWhileBytesMove lists again and again, while hundreds of flows on two loops
// exchange bytes and others come and go: each that lives throughout is told each time,
// with bytes that only grow, and no byte of any flow is lost.
func TestFlowsWhileBytesMove(t *testing.T) {
	const steady = 600 // more than a turn of each loop
	r := start(t, func(s *setup) {
		s.Workers = 2
		s.lead("api.test", echo(t))
		s.lead("brief.test", echo(t))
	})
	h, brief := hello(t, "api.test"), hello(t, "brief.test")
	var clients []*client
	for range steady {
		c := r.open(h)
		c.expect(h)
		clients = append(clients, c)
	}
	r.inStage(stageCarried, steady)

	var stop atomic.Bool
	var running sync.WaitGroup
	for part := range 4 {
		running.Go(func() {
			for word := []byte("some bytes that come back"); !stop.Load(); {
				c := clients[rand.N(steady/4)*4+part]
				c.send(word)
				c.expectLater(word)
			}
		})
	}
	running.Go(func() {
		for !stop.Load() {
			c, err := net.Dial("tcp", r.Addrs()[0].String())
			if err != nil {
				t.Error(err)
				return
			}
			c.SetDeadline(time.Now().Add(patience))
			c.Write(brief)
			io.ReadFull(c, make([]byte, len(brief)))
			c.Close()
		}
	})
	last := map[uint64]Live{}
	moved := false
	for range 20 {
		now := r.list(Selection{Route: "api.test"})
		if len(now) != steady {
			t.Fatalf("%d flows, want %d", len(now), steady)
		}
		for id, l := range now {
			was := last[id]
			if l.Sent < was.Sent || l.Received < was.Received || l.Active.Before(was.Active) {
				t.Errorf("flow %d went back from %+v to %+v", id, was, l)
			}
			moved = moved || was.ID != 0 && l.Sent > was.Sent
		}
		last = now
	}
	if !moved {
		t.Error("no flow moved a byte while 20 lists were made")
	}
	stop.Store(true)
	running.Wait()
}

// expectLater is expect for goroutines beside the test's.
func (c *client) expectLater(want []byte) {
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != string(want) {
		c.t.Errorf("read %q, %v; want %q", got, err, want)
	}
}

// TestFlowsWaitForNobody: while yield waits, the loops go on.
func TestFlowsWaitForNobody(t *testing.T) {
	r := start(t, func(s *setup) { s.lead("api.test", echo(t)) })
	h := hello(t, "api.test")
	c := r.open(h)
	c.expect(h)
	err := r.Flows(t.Context(), Selection{}, func([]Live) error {
		stillThere(c)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestFlowsEndEarly: an error of yield's, a context that is done, and a gateway that
// has ended or never ran leave nobody waiting.
func TestFlowsEndEarly(t *testing.T) {
	r := prepare(t, func(s *setup) { s.lead("api.test", echo(t)) })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	never := func([]Live) error { t.Error("a flow was told of"); return nil }
	if err := r.Flows(ctx, Selection{}, never); !errors.Is(err, context.Canceled) {
		t.Errorf("before the gateway runs: %v, want %v", err, context.Canceled)
	}
	r.run()
	h := hello(t, "api.test")
	c := r.open(h)
	c.expect(h)
	enough := errors.New("enough")
	if err := r.Flows(t.Context(), Selection{}, func([]Live) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("got %v, want yield's error", err)
	}
	r.stop()
	if err := r.Flows(t.Context(), Selection{}, never); err != nil {
		t.Errorf("after the end: %v", err)
	}
	if n, err := r.Kill(t.Context(), Selection{}); n != 0 || err != nil {
		t.Errorf("after the end, %d flows were killed, and %v", n, err)
	}
}

func TestKill(t *testing.T) {
	r := start(t, func(s *setup) {
		s.Workers = 2
		s.lead("api.test", echo(t))
		s.lead("web.test", echo(t))
	})
	open := func(name, from string) *client {
		c := dialFrom(t, netip.MustParseAddrPort(from+":0"), r.Addrs()[0])
		h := hello(t, name)
		c.send(h)
		c.expect(h)
		return c
	}
	api, web, other, kept := open("api.test", "127.0.0.1"), open("web.test", "127.0.0.1"), open("web.test", "127.0.0.9"), open("web.test", "127.0.0.1")
	r.inStage(stageCarried, 4)
	half := r.open(hello(t, "api.test")[:20])
	r.inStage(stageHello, 1)
	var id uint64
	for _, l := range r.list(Selection{Route: "web.test"}) {
		if l.Peer == localAddr(web) {
			id = l.ID
		}
	}
	for i, test := range []struct {
		which Selection
		want  int
		cut   *client
	}{
		{Selection{Route: "api.test"}, 1, api},
		{Selection{Route: "api.test"}, 0, nil},
		{Selection{ID: id, Route: "api.test"}, 0, nil},
		{Selection{ID: id}, 1, web},
		{Selection{Source: netip.MustParsePrefix("127.0.0.8/29")}, 1, other},
	} {
		if n, err := r.Kill(t.Context(), test.which); n != test.want || err != nil {
			t.Errorf("%d: killed %d, %v; want %d", i, n, err, test.want)
		}
		if test.cut != nil {
			test.cut.expectCut()
		}
	}
	for _, f := range r.ends(3) {
		if f.End != flow.Killed {
			t.Errorf("flow %d ended as %v, want %v", f.ID, f.End, flow.Killed)
		}
	}
	stillThere(kept)
	half.send(hello(t, "web.test")) // garbage now, but still listened to
	r.ends(4)
}

// TestKillMany kills more than a turn of each loop has.
func TestKillMany(t *testing.T) {
	const many = 700
	r := start(t, func(s *setup) {
		s.Workers = 2
		s.lead("api.test", echo(t))
	})
	h := hello(t, "api.test")
	for range many {
		r.open(h).expect(h)
	}
	r.inStage(stageCarried, many)
	if n, err := r.Kill(t.Context(), Selection{Route: "api.test"}); n != many || err != nil {
		t.Errorf("killed %d, %v; want %d", n, err, many)
	}
	if left := r.list(Selection{}); len(left) != 0 {
		t.Errorf("%d are left", len(left))
	}
}

// TestFlowsAskThePaths counts what only the path knows of.
func TestFlowsAskThePaths(t *testing.T) {
	r := start(t, func(s *setup) {
		s.lead("api.test", echo(t))
		s.paths = func(l *poll.Loop) ([]Path, error) {
			s, err := relay.New(l, 0)
			return []Path{lazyPath{s}}, err
		}
	})
	h := hello(t, "api.test")
	r.open(h).expect(h)
	for _, l := range r.list(Selection{}) {
		if want := uint64(len(h)) + 1000; l.Sent != want {
			t.Errorf("%d bytes sent, want %d", l.Sent, want)
		}
	}
}
