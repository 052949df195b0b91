package gateway

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
	"sluice/userspace/sni"
)

const brief = 150 * time.Millisecond // for what is to time out

// When an endpoint cannot be had the flow goes to another one, and the client
// notices nothing.
func TestRetry(t *testing.T) {
	for _, test := range []struct {
		name   string
		bad    func(*testing.T) netip.AddrPort
		change func(*setup)
		err    error
	}{
		{"refused", refusing, func(*setup) {}, unix.ECONNREFUSED},
		{"no answer", hole, func(s *setup) { s.ConnectTimeout = brief }, unix.ETIMEDOUT},
		{"no answer, the cluster's own timeout", hole, func(s *setup) { s.clusters[0].ConnectTimeout = brief }, unix.ETIMEDOUT},
	} {
		t.Run(test.name, func(t *testing.T) {
			good, bad := echo(t), test.bad(t)
			r := start(t, func(s *setup) {
				s.lead("api.test", bad, good)
				test.change(s)
			})
			h := hello(t, "api.test")
			// By round robin, one of two flows goes to the bad one first.
			for range 2 {
				c := r.open(h)
				c.expect(h)
				checkCounts(t, r, bad, 0)
				checkCounts(t, r, good, 1)
				c.CloseWrite()
				c.rest()
				c.Close()
				eventually(t, "no connection active", func() bool { return r.Active() == 0 })
			}
			tries := 0
			for _, f := range r.ends(2) {
				tries += f.Attempts
				if f.End != flow.Closed || f.Upstream != good || f.Connect < 0 {
					t.Errorf("ended as %v at %v", f.End, f.Upstream)
				}
				if f.Attempts == 2 && test.err == unix.ETIMEDOUT && f.Connect < brief {
					t.Errorf("went on after %v, want %v", f.Connect, brief)
				}
			}
			attempts, failures := r.seen.connects()
			if tries != 3 || attempts != 3 || len(failures) != 1 || !errors.Is(failures[0], test.err) {
				t.Errorf("the flows tried %d connects, %d were told, with failures %v; want 3 with one", tries, attempts, failures)
			}
		})
	}
}

// checkCounts compares the live count of the endpoint with an address.
func checkCounts(t *testing.T, r *rig, addr netip.AddrPort, want int64) {
	t.Helper()
	for cluster := range r.parts.Table.Load().Clusters() {
		for _, e := range cluster.Endpoints {
			if got := e.Load.Active.Load(); e.Addrs[0] == addr && got != want {
				t.Errorf("endpoint %s counts %d flows, want %d", e, got, want)
			}
		}
	}
}

func TestAttemptsAreLimited(t *testing.T) {
	for _, test := range []struct{ endpoints, limit, want int }{
		{5, 3, 3},
		{2, 3, 2},
		{5, 1, 1},
		{5, 0, 1},
		{5, 9, 5},
	} {
		r := start(t, func(s *setup) {
			s.ConnectAttempts = test.limit
			var to []netip.AddrPort
			for range test.endpoints {
				to = append(to, refusing(t))
			}
			s.lead("api.test", to...)
		})
		r.open(hello(t, "api.test")).expectAlert(sni.AlertInternalError)
		f := r.ends(1)[0]
		attempts, failures := r.seen.connects()
		if f.End != flow.ConnectFailed || f.Attempts != test.want || attempts != test.want || len(failures) != test.want {
			t.Errorf("%d endpoints, limit %d: ended as %v after %d attempts, %d told and %d failures; want %d",
				test.endpoints, test.limit, f.End, f.Attempts, attempts, len(failures), test.want)
		}
		if f.Upstream == (netip.AddrPort{}) {
			t.Error("the log does not say what was tried last")
		}
	}
}

func TestConnectTimesOut(t *testing.T) {
	r := start(t, func(s *setup) {
		s.ConnectTimeout = brief
		s.lead("api.test", hole(t))
	})
	r.open(hello(t, "api.test")).expectAlert(sni.AlertInternalError)
	if f := r.ends(1)[0]; f.End != flow.ConnectFailed || f.Duration < brief {
		t.Errorf("ended as %v (%s) after %v", f.End, f.Detail, f.Duration)
	}
}

// An answer that comes late, to a SYN sent again, counts like one at once.
func TestRefusedLate(t *testing.T) {
	fd, late := holeOf(t)
	r := start(t, func(s *setup) { s.lead("api.test", late) })
	c := r.open(hello(t, "api.test"))
	r.inStage(stageConnect, 1)
	if err := unix.Shutdown(fd, unix.SHUT_RDWR); err != nil { // it listens no more
		t.Fatal(err)
	}
	c.expectAlert(sni.AlertInternalError)
	f := r.ends(1)[0]
	if _, failures := r.seen.connects(); f.End != flow.ConnectFailed || len(failures) != 1 || !errors.Is(failures[0], unix.ECONNREFUSED) {
		t.Errorf("ended as %v (%s) after %v", f.End, f.Detail, failures)
	}
}

// Zero means no limit of the gateway's own, as Config says of all durations.
func TestNoTimeouts(t *testing.T) {
	slow := hole(t)
	r := start(t, func(s *setup) {
		s.HelloTimeout, s.ConnectTimeout = 0, 0
		s.lead("api.test", echo(t))
		s.lead("hole.test", slow)
	})
	h := hello(t, "api.test")
	c := r.open(h[:100])
	r.inStage(stageHello, 1)
	held := r.open(hello(t, "hole.test"))
	r.inStage(stageConnect, 1)
	time.Sleep(brief)
	c.send(h[100:])
	c.expect(h)
	r.inStage(stageConnect, 1)
	held.reset()
	r.ends(1)
}

// A connect for nobody is given up.
func TestClientGoneWhileConnecting(t *testing.T) {
	r := start(t, func(s *setup) { s.lead("api.test", hole(t)) })
	before := descriptors(t)
	c := r.open(hello(t, "api.test"))
	r.inStage(stageConnect, 1)
	c.reset()
	if f := r.ends(1)[0]; f.End != flow.ClientGone || f.Attempts != 1 {
		t.Errorf("ended as %v (%s) after %d attempts", f.End, f.Detail, f.Attempts)
	}
	eventually(t, "the sockets are closed", func() bool { return descriptors(t) <= before })
}

// An end of the client's sending is not its end: it may wait for an answer.
func TestHalfCloseWhileConnecting(t *testing.T) {
	good := echo(t)
	r := start(t, func(s *setup) {
		s.ConnectTimeout = brief
		s.lead("api.test", hole(t), good)
	})
	h := hello(t, "api.test")
	for range 2 {
		c := r.open(h)
		c.CloseWrite()
		c.expect(h)
		c.rest()
	}
	for _, f := range r.ends(2) {
		if f.End != flow.Closed || f.Upstream != good {
			t.Errorf("ended as %v at %v", f.End, f.Upstream)
		}
	}
}
