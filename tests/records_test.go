package tests

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"sluice/tests/harness"
	ends "sluice/userspace/flow"
)

// wantRecords expects the one flow of a test in every gateway's access log, with
// the bytes of payload each way that the test sent.
func (s *site) wantRecords(t *testing.T, reason string, sent, received int64) {
	t.Helper()
	for i, g := range s.gateways {
		r := g.Records(1)[0]
		if want := sent + int64(len(s.hello)); r.Sent != want || r.Received != received {
			t.Errorf("logged %d bytes sent and %d received, want %d and %d", r.Sent, r.Received, want, received)
		}
		s.wantEnd(t, i, r, reason)
	}
}

// wantEnd expects in gateway i's record of a flow that was carried all that does
// not depend on what it carried. For its path, see wantPath.
func (s *site) wantEnd(t *testing.T, i int, r harness.Record, reason string) {
	t.Helper()
	type known struct{ SNI, Route, Cluster, Listener, Endpoint, Source, Reason string }
	want := known{serverName, serverName, serverName, s.gateways[i].Addr, s.next(i), s.source(i), reason}
	got := known{r.SNI, r.Route, r.Cluster, r.Listener, r.Endpoint, host(r.Source), r.Reason}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("logged by gateway %d (-want +got), detail %q:\n%s", i, r.Detail, diff)
	}
	if r.Attempts != 1 {
		t.Errorf("logged %d attempts to connect, want 1", r.Attempts)
	}
	// To the microsecond each, so their sum can be off by one.
	if r.Hello < 0 || r.Connect < 0 || r.Hello+r.Connect > r.Duration+0.002 {
		t.Errorf("logged %v ms for the hello and %v ms to connect, of %v ms in all", r.Hello, r.Connect, r.Duration)
	}
}

// next is where gateway i sends its flows.
func (s *site) next(i int) string {
	if i+1 < len(s.gateways) {
		return s.gateways[i+1].Addr
	}
	return s.server.Addr().String()
}

// source is whom gateway i sees its flows come from.
func (s *site) source(i int) string {
	link := s.Namespaces[i].Right
	if s.clientHere {
		link = s.NS("client").Left
	}
	if s.v6 {
		return link.IPv6.String()
	}
	return link.IPv4.String()
}

func host(addr string) string {
	a, err := netip.ParseAddrPort(addr)
	if err != nil {
		return err.Error()
	}
	return a.Addr().String()
}

// wantReset expects the log to blame the end that reset.
func (s *site) wantReset(t *testing.T, by end) {
	t.Helper()
	for i, g := range s.gateways {
		s.wantEnd(t, i, g.Records(1)[0], by.resetReason())
	}
}

// resetReason is the log's word for a reset by that end.
func (e end) resetReason() string {
	if e.seed == 1 {
		return "downstream_reset"
	}
	return "upstream_reset"
}

// volume is what a flow carried, as the log has it: the hello included. What one
// carried that did not end in order is not told.
type volume struct {
	Reason         string
	Sent, Received int64
}

// closed is the volume of a flow with so many bytes of payload that ended in order.
func (s *site) closed(out, back int64) volume {
	return volume{"closed", int64(len(s.hello)) + out, back}
}

// wantVolumes expects so many flows, these and no others, in every gateway's log, in
// whatever order.
func (s *site) wantVolumes(t *testing.T, want []volume) {
	t.Helper()
	sort := func(v []volume) {
		slices.SortFunc(v, func(a, b volume) int {
			return cmp.Or(cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Sent, b.Sent), cmp.Compare(a.Received, b.Received))
		})
	}
	sort(want)
	for i, g := range s.gateways {
		var got []volume
		for _, r := range g.Records(len(want)) {
			v := volume{r.Reason, r.Sent, r.Received}
			if r.Reason != "closed" {
				v = volume{Reason: r.Reason}
			}
			got = append(got, v)
		}
		sort(got)
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("logged by gateway %d (-want +got):\n%s", i, diff)
		}
	}
}

// wantPath expects that every flow that was carried, and none that was refused,
// took the path.
func (s *site) wantPath(t *testing.T, g *harness.Gateway) {
	t.Helper()
	refusals := map[string]bool{}
	for _, e := range ends.Ends() {
		refusals[e.String()] = e.Refused()
	}
	carried := 0
	for _, r := range g.Records(0) {
		want := s.path.name
		switch {
		case refusals[r.Reason]:
			want = ""
		case s.anyPath && r.Path != "":
			want = r.Path
		}
		if r.Path != want {
			t.Errorf("flow that ended by %s took path %q, want %q", r.Reason, r.Path, want)
		}
		if r.Path == s.path.name {
			carried++
		}
	}
	if n := g.Metric(fmt.Sprintf("sluice_path_flows_total{path=%q}", s.path.name)); n < float64(carried) {
		t.Errorf("%v flows counted by path %s, %d in the log", n, s.path.name, carried)
	}
	if carried > 0 {
		wantGrown(t, g, s.path.carried)
	}
}

// wantGrown expects that all these series have grown from zero.
func wantGrown(t *testing.T, g *harness.Gateway, series []string) {
	t.Helper()
	for _, name := range series {
		if g.Metric(name) == 0 {
			t.Errorf("%s is 0", name)
		}
	}
}

// wantAtRest expects that nothing is left of the flows but the pools of pipes.
func wantAtRest(t *testing.T, g *harness.Gateway, before harness.Descriptors) {
	t.Helper()
	const (
		sockets = harness.Workers + 1      // listeners: of each worker, and of the metrics
		pipes   = harness.Workers * 64 * 2 // two descriptors each
	)
	var now harness.Descriptors
	harness.Eventually(t, "a gateway that has closed what it opened for flows", func() bool {
		now = g.Descriptors()
		return now.Sockets <= sockets && now.Others <= before.Others && now.Pipes <= pipes
	}, func() any { return now })
}
