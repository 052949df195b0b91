package tests

import (
	"testing"

	"sluice/scripts/lab/labtest"
	"sluice/tests/harness"
)

// TestNeighbours has two gateways on one host, one the other's peer, with local
// acceleration and without: neither may take the other's sockets for those of a process
// that sends by itself, for what it hands to the kernel is sent by the other's programs
// or by none.
func TestNeighbours(t *testing.T) {
	labtest.NeedRoot(t)
	type kind struct {
		name, path string
		flags      []string
	}
	kinds := []kind{
		{"splice", "splice", nil},
		{"auto", "auto", nil},
		{"sockmap", "sockmap", nil},
		{"local", "auto", []string{"-local-acceleration", "force"}},
	}
	for _, near := range kinds {
		for _, far := range kinds {
			t.Run(near.name+" before "+far.name, func(t *testing.T) {
				s := &site{
					Lab:    labtest.New(t, "client", "dc1", "server"),
					layout: layout{hops: 2, clientHere: true, serverHere: true},
					hello:  harness.Hello(serverName, 0),
				}
				s.server = s.listen(t, serverPort)
				next := s.server.Addr().String()
				for i, g := range []kind{far, near} {
					gateway := harness.Start(t, s.NS("dc1"), harness.Config{
						Listen: s.addr(s.NS("dc1"), port+uint16(i)), Routes: harness.Routes{serverName: {next}}, Path: g.path, Flags: g.flags,
					})
					s.gateways = append([]*harness.Gateway{gateway}, s.gateways...)
					next = gateway.Addr
				}
				before := s.descriptors()
				s.neighbourly(t)
				for i, g := range s.gateways {
					g.Idle()
					wantAtRest(t, g, before[i])
				}
			})
		}
	}
}

// neighbourly has flows take turns, as long as it takes a gateway to put them on another
// path, then send both ways at once, and end.
func (s *site) neighbourly(t *testing.T) {
	t.Helper()
	const flows, turns, turn = 16, 30, 100
	var work []func() error
	var want []volume
	for i := range flows {
		f := s.open(t)
		for n := range uint64(turns) {
			f.turn(t, n, n, turn)
		}
		out, back := int64(i)*100_000, int64(flows-i)*100_000
		work = append(work, bothWays(f, out, back, 1000+i*997)...)
		want = append(want, s.closed(turns*turn+out, turns*turn+back))
	}
	harness.All(t, work...)
	s.wantVolumes(t, want)
}
