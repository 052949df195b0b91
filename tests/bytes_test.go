package tests

import (
	"fmt"
	"io"
	"testing"

	"sluice/scripts/lab"
	"sluice/tests/harness"
)

var everywhere = []layout{oneHop, oneHop6, twoHops}

// bothWays sends n bytes each way at once and ends both streams.
func bothWays(f flow, n int64, piece int) []func() error {
	return []func() error{
		func() error {
			if err := harness.Send(f.client, 1, n, piece); err != nil {
				return err
			}
			return f.client.CloseWrite()
		},
		func() error {
			if err := harness.Send(f.server, 2, n, piece); err != nil {
				return err
			}
			return f.server.CloseWrite()
		},
		func() error { return receiveAll(f.server, 1, n) },
		func() error { return receiveAll(f.client, 2, n) },
	}
}

// receiveAll reads a stream of n bytes and its end.
func receiveAll(c io.Reader, seed uint64, n int64) error {
	if err := harness.Receive(c, seed, n); err != nil {
		return err
	}
	return harness.End(c)
}

func TestBulkBothWays(t *testing.T) {
	eachPath(t, everywhere, func(t *testing.T, s *site) {
		n := int64(harness.Scale(256 << 20))
		harness.All(t, bothWays(s.open(t), n, 256<<10)...)
		s.wantRecords(t, "closed", n, n)
	})
}

func TestManyFlows(t *testing.T) {
	eachPath(t, []layout{oneHop, twoHops}, func(t *testing.T, s *site) {
		flows := harness.Scale(200)
		var work []func() error
		for i := range flows {
			// From nothing to some MB, no two alike.
			n := int64(harness.Scale(i*i*71 + i%7))
			work = append(work, bothWays(s.open(t), n, 1000+i*97)...)
		}
		harness.All(t, work...)
		for _, g := range s.gateways {
			for _, r := range g.Records(flows) {
				wantEnd(t, r, "closed")
				if r.Sent != r.Received+int64(len(s.hello)) {
					t.Errorf("%d bytes sent, %d received, which should be the hello's less", r.Sent, r.Received)
				}
			}
		}
	})
}

func TestSingleBytes(t *testing.T) {
	eachPath(t, []layout{oneHop, twoHops}, func(t *testing.T, s *site) {
		harness.All(t, bothWays(s.open(t), 5000, 1)...)
		s.wantRecords(t, "closed", 5000, 5000)
	})
}

// TestFullSegments has the bytes come in packets as they do on a wire: each of
// one segment, none joined by the interface.
func TestFullSegments(t *testing.T) {
	eachPath(t, everywhere, func(t *testing.T, s *site) {
		harness.Must(t, s.Offloads(false))
		n := int64(harness.Scale(64 << 20))
		harness.All(t, bothWays(s.open(t), n, 64<<10)...)
		s.wantRecords(t, "closed", n, n)
	})
}

func TestSmallMTU(t *testing.T) {
	eachPath(t, []layout{oneHop}, func(t *testing.T, s *site) {
		for _, ns := range s.Namespaces {
			for _, link := range []*lab.Link{ns.Left, ns.Right} {
				if link != nil {
					harness.Must(t, ns.MTU(link, 576))
				}
			}
		}
		harness.Must(t, s.Offloads(false))
		n := int64(harness.Scale(16 << 20))
		harness.All(t, bothWays(s.open(t), n, 64<<10)...)
		s.wantRecords(t, "closed", n, n)
	})
}

func TestLoss(t *testing.T) {
	for _, c := range []struct {
		percent float64
		bytes   int
	}{{0.1, 64 << 20}, {1, 16 << 20}, {5, 1 << 20}} {
		t.Run(fmt.Sprintf("%v percent", c.percent), func(t *testing.T) {
			eachPath(t, []layout{oneHop, twoHops}, func(t *testing.T, s *site) {
				harness.Must(t, s.Offloads(false))
				f := s.open(t)
				var drops []*lab.Drop
				for _, ns := range s.Namespaces {
					d, err := ns.Loss(c.percent)
					harness.Must(t, err)
					drops = append(drops, d)
				}
				n := int64(harness.Scale(c.bytes))
				harness.All(t, bothWays(f, n, 64<<10)...)
				var dropped uint64
				for _, d := range drops {
					packets, err := d.Packets()
					harness.Must(t, err)
					dropped += packets
					harness.Must(t, d.Remove())
				}
				if dropped == 0 {
					t.Error("no packet was lost, so nothing was tested")
				}
				s.wantRecords(t, "closed", n, n)
			})
		})
	}
}
