package tests

import (
	"testing"

	"sluice/tests/harness"
)

// TestStalledReaders has many readers stop: their senders must stop too, the
// gateway must not pile their bytes up, other flows must not notice, and when
// they read on, every byte must be there.
func TestStalledReaders(t *testing.T) {
	eachPath(t, []layout{oneHop}, func(t *testing.T, s *site) {
		g := s.gateways[0]
		const n = 16 << 20
		stalled := harness.Scale(100)
		base := g.RSS()
		var flows []flow
		sent := make(chan error, stalled)
		for range stalled {
			f := s.open(t)
			flows = append(flows, f)
			go func() { sent <- end{f.client, 1}.sendAll(n, 64<<10) }()
		}
		passed := g.Metric(`sluice_bytes_total{direction="sent"}`)
		still := 0 // readings without a byte more
		harness.Eventually(t, "a stall of all senders", func() bool {
			before := passed
			passed = g.Metric(`sluice_bytes_total{direction="sent"}`)
			if still++; passed != before {
				still = 0
			}
			return still == 20
		})
		if most := float64(stalled) * n / 2; passed > most {
			t.Errorf("the gateway passed %.0f bytes on to readers that do not read, want less than %.0f", passed, most)
		}
		// What a pipe holds, at most, and its bookkeeping.
		if grown, most := g.RSS()-base, int64(stalled)*(256<<10+4<<10)+(32<<20); grown > most {
			t.Errorf("the gateway grew by %d bytes over %d stalled flows, want at most %d", grown, stalled, most)
		}
		harness.All(t, bothWays(s.open(t), 8<<20, 8<<20, 64<<10)...)

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
