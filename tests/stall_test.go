package tests

import (
	"fmt"
	"testing"

	"sluice/tests/harness"
)

// TestStalledReaders has many readers stop: their senders must stop too, the
// gateway must not pile their bytes up, other flows must not notice, and when
// they read on, every byte must be there.
func TestStalledReaders(t *testing.T) {
	eachPath(t, []layout{oneHop}, func(t *testing.T, s *site) {
		g := s.gateways[0]
		const n = 64 << 20
		stalled := harness.Scale(150)
		base := g.RSS()
		var flows []flow
		sent := make(chan error, stalled)
		for range stalled {
			f := s.open(t)
			flows = append(flows, f)
			go func() { sent <- end{f.client, 1}.sendAll(n) }()
		}
		passed := g.Metric(`sluice_bytes_total{direction="sent"}`)
		harness.Eventually(t, "a stall of all senders", func() bool {
			before := passed
			passed = g.Metric(`sluice_bytes_total{direction="sent"}`)
			return passed == before
		})
		if most := float64(stalled) * n / 2; passed > most {
			t.Errorf("the gateway passed %.0f bytes on to readers that do not read, want less than %.0f", passed, most)
		}
		// What a pipe holds, at most, and its bookkeeping.
		if grown, most := g.RSS()-base, int64(stalled)*(256<<10+4<<10)+(32<<20); grown > most {
			t.Errorf("the gateway grew by %d bytes over %d stalled flows, want at most %d", grown, stalled, most)
		}
		harness.All(t, bothWays(s.open(t), 8<<20, 64<<10)...)

		var work []func() error
		for _, f := range flows {
			work = append(work,
				func() error { return receiveAll(f.server, 1, n) },
				f.server.CloseWrite,
				func() error { return <-sent })
		}
		harness.All(t, work...)
	})
}

// TestTableSwapsUnderLoad changes the table as fast as it goes, while flows run
// and new ones come: none is cut, and none goes to a server that no table in
// force at the time had for its name.
func TestTableSwapsUnderLoad(t *testing.T) {
	eachPath(t, []layout{oneHop}, func(t *testing.T, s *site) {
		g := s.gateways[0]
		other := s.listen(t, serverPort+1)
		go answer(other, '2')
		first := s.listen(t, serverPort+2)
		go answer(first, '1')
		const otherName = "other.default.dc2.internal.test.consul"
		hellos := map[string][]byte{"1": harness.Hello(serverName, 0), "2": harness.Hello(otherName, 0)}

		long := s.open(t) // over the table that has no answering server yet
		swapped := make(chan struct{})
		go func() {
			defer close(swapped)
			for i := range 40 {
				routes := harness.Routes{serverName: {first.Addr().String()}, otherName: {other.Addr().String()}}
				routes[fmt.Sprintf("filler-%d.test", i)] = []string{other.Addr().String()}
				g.SetRoutes(routes)
				harness.Eventually(t, "the table with it", func() bool {
					return g.Metric("sluice_table_version") > float64(i+1)
				})
			}
		}()
		load := make(chan error, 1)
		go func() { load <- receiveAll(long.server, 1, 256<<20/8) }()
		harness.Eventually(t, "the second table", func() bool { return g.Metric("sluice_table_version") > 1 })
		for i := 0; ; i++ {
			want := string("12"[i%2])
			c := s.dial(t)
			_, err := c.Write(hellos[want])
			harness.Must(t, err)
			if err := harness.ReceiveBytes(c, []byte(want)); err != nil {
				t.Fatalf("flow %d, for server %s: %v", i, want, err)
			}
			c.Close()
			select {
			case <-swapped:
			default:
				continue
			}
			break
		}
		harness.Must(t, end{long.client, 1}.sendAll(256<<20/8))
		harness.Must(t, <-load)
		harness.Must(t, long.server.CloseWrite())
		harness.Must(t, harness.End(long.client))
	})
}
