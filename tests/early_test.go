package tests

import (
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"sluice/tests/harness"
)

// TestEarlyBytes has bytes reach the gateway's sockets before a path has the flow:
// the client sends all it has right behind its hello, while some flows have yet to
// find out that an endpoint is dead, and the server may speak first.
func TestEarlyBytes(t *testing.T) {
	for _, c := range []struct {
		name        string
		out, back   int64
		serverFirst bool
	}{
		{"a byte of the client's", 1, 1, false},
		{"much of the client's", 4 << 20, 1000, false},
		{"a greeting of the server's", 1000, 100, true},
		{"much of both", 4 << 20, 4 << 20, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachPath(t, []layout{oneHop, twoHops}, func(t *testing.T, s *site) {
				const flows = 16
				s.anyPath = true // a client that has ended already is not for every path
				g := s.gateways[0]
				g.ConnectTimeout = 300 * time.Millisecond
				g.Reroute(harness.Routes{serverName: {s.blackHole(t), s.next(0)}})
				stream, err := io.ReadAll(harness.Stream(1, c.out))
				harness.Must(t, err)
				first := slices.Concat(s.hello, stream)
				work := []func() error{func() error {
					return s.serve(flows, func(server end) error {
						speak := func() error { return server.sendAll(c.back, 64<<10) }
						hear := func() error { return errors.Join(s.readHello(server), receiveAll(server, 1, c.out)) }
						if c.serverFirst {
							return errors.Join(speak(), hear())
						}
						return errors.Join(hear(), speak())
					})
				}}
				for range flows {
					client := s.dial(t)
					work = append(work,
						func() error {
							_, err := client.Write(first)
							return errors.Join(err, client.CloseWrite())
						},
						func() error { return receiveAll(client, 2, c.back) })
				}
				harness.All(t, work...)
				s.wantVolumes(t, slices.Repeat([]volume{s.closed(c.out, c.back)}, flows))
				if n := g.Metric(`sluice_connect_failures_total{reason="timeout"}`); n == 0 {
					t.Error("no flow met the dead endpoint")
				}
			})
		})
	}
}

// serve accepts n flows and handles them at the same time.
func (s *site) serve(n int, handle func(end) error) error {
	if err := s.server.SetDeadline(time.Now().Add(harness.Patience)); err != nil {
		return err
	}
	handled := make(chan error, n)
	for range n {
		c, err := s.server.AcceptTCP()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			handled <- errors.Join(c.SetDeadline(time.Now().Add(2*harness.Patience)), handle(end{c, 2}))
		}()
	}
	var errs []error
	for range n {
		errs = append(errs, <-handled)
	}
	return errors.Join(errs...)
}
