package tests

import (
	"bufio"
	"fmt"
	"strconv"
	"testing"

	"sluice/tests/harness"
)

// TestIdleFlows has thousands of flows that have carried something and wait: each
// may cost two descriptors and a little memory, and nothing else.
func TestIdleFlows(t *testing.T) {
	eachPath(t, []layout{oneHop}, func(t *testing.T, s *site) {
		s.server.Close() // its port is taken over by a process with room for the flows
		s.startServer(t, serverPort)

		g := s.gateways[0]
		// Once to and fro, so that what is there for all flows is there already.
		s.hold(t, harness.Scale(400))()
		g.Idle()
		descriptors, memory := g.Descriptors(), g.RSS()

		flows := harness.Scale(9000)
		release := s.hold(t, flows)
		if n := g.Metric("sluice_flows_active"); n != float64(flows) {
			t.Fatalf("%v flows, want %d", n, flows)
		}
		perFlow := float64(g.RSS()-memory) / float64(flows)
		opened := g.Descriptors().All() - descriptors.All()
		t.Logf("%d idle flows: %d descriptors, %.0f bytes of memory each", flows, opened, perFlow)
		if opened > 2*flows {
			t.Errorf("%d descriptors for %d flows, want two each", opened, flows)
		}
		if most := 2048.0; perFlow > most && !harness.Race {
			t.Errorf("%.0f bytes of memory for a flow, want at most %.0f", perFlow, most)
		}
		release()
	})
}

// hold has a process of its own open so many flows, each of which has got its
// hello back. It returns how to end them.
func (s *site) hold(t *testing.T, flows int) (release func()) {
	t.Helper()
	cmd := role("hold", s.gateways[0].Addr, serverName, strconv.Itoa(flows))
	in, err := cmd.StdinPipe()
	harness.Must(t, err)
	out, err := cmd.StdoutPipe()
	harness.Must(t, err)
	harness.Must(t, s.NS("client").Start(cmd))
	ended := func() error {
		in.Close()
		return cmd.Wait()
	}
	t.Cleanup(func() { killUnlessEnded(cmd) })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "holding\n" {
		t.Fatalf("the clients' process: %q, %v; %v", line, err, ended())
	}
	return func() { harness.Must(t, describe(ended(), "the clients' process")) }
}

func describe(err error, what string) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
