package tests

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"sluice/tests/harness"
)

// The kernel ends the connections of a process that is killed: in order if it had
// read everything, and with a reset if not. The other end must see which.

func TestClientGone(t *testing.T) {
	eachPath(t, everywhere, func(t *testing.T, s *site) {
		kill, c := s.startClient(t)
		kill()
		harness.Must(t, harness.End(c))
		c.Close()
		s.wantRecords(t, "closed", 0, 0)
	})
}

func TestClientGoneInTransfer(t *testing.T) {
	eachPath(t, everywhere, func(t *testing.T, s *site) {
		kill, c := s.startClient(t)
		sent := make(chan error, 1)
		go func() { sent <- harness.Send(c, 2, harness.Endless, 64<<10) }()
		harness.Eventually(t, "bytes on their way", func() bool {
			return s.gateways[0].Metric(`sluice_bytes_total{direction="received"}`) > 64<<10
		})
		kill()
		wantCut(t, <-sent)
		c.Close()
		s.wantReset(t, end{seed: 1})
	})
}

// startClient runs a client in a process of its own, which says nothing after its
// hello and reads nothing, and returns the server's end of its flow.
func (s *site) startClient(t *testing.T) (kill func(), c io.ReadWriteCloser) {
	t.Helper()
	cmd := role("hold", s.gateways[0].Addr, serverName, "1")
	harness.Must(t, s.NS("client").Start(cmd))
	t.Cleanup(func() { killUnlessEnded(cmd) })
	conn := accept(t, s.server)
	_, err := io.ReadFull(conn, make([]byte, len(s.hello))) // its own, as long as ours
	harness.Must(t, err)
	return func() { harness.Must(t, killed(cmd)) }, conn
}

func TestServerGone(t *testing.T) {
	eachPath(t, everywhere, func(t *testing.T, s *site) {
		kill, c := s.swapServer(t)
		kill()
		harness.Must(t, harness.End(c))
		c.Close()
		s.wantRecords(t, "closed", 0, int64(len(s.hello)))
	})
}

func TestServerGoneInTransfer(t *testing.T) {
	eachPath(t, everywhere, func(t *testing.T, s *site) {
		kill, c := s.swapServer(t)
		sent := make(chan error, 1)
		go func() { sent <- harness.Send(c, 1, harness.Endless, 64<<10) }()
		harness.Must(t, harness.Receive(c, 1, 1<<20))
		kill()
		wantCut(t, <-sent)
		c.Close()
		s.wantReset(t, end{seed: 2})
	})
}

// swapServer has an echoing process take the server's place, and returns a flow to
// it that has had its hello back.
func (s *site) swapServer(t *testing.T) (kill func(), c io.ReadWriteCloser) {
	t.Helper()
	s.server.Close()
	cmd := s.startServer(t, serverPort)
	conn := s.dial(t)
	_, err := conn.Write(s.hello)
	harness.Must(t, err)
	harness.Must(t, s.readHello(conn))
	return func() { harness.Must(t, killed(cmd)) }, conn
}

// wantCut expects that a sender has met a reset.
func wantCut(t *testing.T, err error) {
	t.Helper()
	if !harness.IsCut(err) {
		t.Errorf("expected a sender to be cut off, got %v", err)
	}
}

// TestGatewayKilled kills the gateway while flows are idle and full, several times,
// and starts it anew: each end must see its flow end, with nothing wrong before
// that, and nothing of the old gateway may be in the way of the new one.
func TestGatewayKilled(t *testing.T) {
	eachPath(t, []layout{oneHop, twoHops}, func(t *testing.T, s *site) {
		g := s.gateways[0]
		for range 3 {
			var flows []flow
			var over []<-chan error
			for i := range 8 {
				f := s.open(t)
				flows = append(flows, f)
				full := i%2 == 0
				over = append(over, untilCut(end{f.client, 1}, full), untilCut(end{f.server, 2}, full))
			}
			for _, direction := range []string{"sent", "received"} {
				harness.Eventually(t, "bytes on their way", func() bool {
					return g.Metric(fmt.Sprintf("sluice_bytes_total{direction=%q}", direction)) > 8<<20
				})
			}
			g.Kill()
			for _, c := range over {
				if err := <-c; err != nil {
					t.Error(err)
				}
			}
			for _, f := range flows {
				f.client.Close()
				f.server.Close()
			}
			g.Restart()
			harness.All(t, bothWays(s.open(t), 1<<20, 1<<20, 64<<10)...)
		}
	})
}

// untilCut has one end receive, and send if it is to, until the flow is no more, and
// tells what else went wrong.
func untilCut(e end, send bool) <-chan error {
	over := make(chan error, 1)
	sent := make(chan error, 1)
	go func() {
		var err error
		if send {
			err = harness.Send(e, e.seed, harness.Endless, 64<<10)
		}
		sent <- err
	}()
	go func() {
		_, received := harness.ReceiveAll(e, 3-e.seed)
		var errs []error
		// When both are at work, the kernel tells only one of them of the reset.
		if !send && received == nil {
			errs = append(errs, errors.New("an end of stream, as if all had been said"))
		}
		for _, err := range []error{received, <-sent} {
			if !harness.IsCut(err) {
				errs = append(errs, err)
			}
		}
		over <- errors.Join(errs...)
	}()
	return over
}
