package tests

import (
	"io"
	"testing"

	"sluice/scripts/lab"
	"sluice/tests/harness"
)

var everywhere = []layout{oneHop, oneHop6, twoHops}

// bothWays sends bytes each way at once, from client to server and back, and ends
// both streams.
func bothWays(f flow, out, back int64, piece int) []func() error {
	client, server := end{f.client, 1}, end{f.server, 2}
	return []func() error{
		func() error { return client.sendAll(out, piece) },
		func() error { return server.sendAll(back, piece) },
		func() error { return receiveAll(server, 1, out) },
		func() error { return receiveAll(client, 2, back) },
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
		n := int64(harness.Scale(64 << 20))
		harness.All(t, bothWays(s.open(t), n, n, 256<<10)...)
		s.wantRecords(t, "closed", n, n)
	})
}

func TestManyFlows(t *testing.T) {
	eachPath(t, []layout{oneHop, twoHops}, func(t *testing.T, s *site) {
		flows := harness.Scale(200)
		size := func(i int) int64 { return int64(harness.Scale(i*i*71 + i%7)) } // to some MB
		var work []func() error
		var want []volume
		for i := range flows {
			out, back := size(i), size(flows-i)
			work = append(work, bothWays(s.open(t), out, back, 1000+i*97)...)
			want = append(want, s.closed(out, back))
		}
		harness.All(t, work...)
		s.wantVolumes(t, want)
	})
}

func TestSingleBytes(t *testing.T) {
	eachPath(t, []layout{oneHop, twoHops}, func(t *testing.T, s *site) {
		harness.All(t, bothWays(s.open(t), 5000, 4000, 1)...)
		s.wantRecords(t, "closed", 5000, 4000)
	})
}

// turn has the client send n bytes of one stream, and then the server of another.
func (f flow) turn(t *testing.T, out, back uint64, n int64) {
	t.Helper()
	harness.Must(t, harness.Send(f.client, out, n, int(n)))
	harness.Must(t, harness.Receive(f.server, out, n))
	harness.Must(t, harness.Send(f.server, back, n, int(n)))
	harness.Must(t, harness.Receive(f.client, back, n))
}

// TestTurns has each end wait for the other's bytes before it sends its own: one that
// were held back would hold up all.
func TestTurns(t *testing.T) {
	eachPath(t, everywhere, func(t *testing.T, s *site) {
		f := s.open(t)
		const turns = 150
		total := int64(0)
		for _, n := range []int64{1, 128, 4 << 10, 16 << 10} {
			for i := range uint64(turns) {
				f.turn(t, i, i+turns, n)
			}
			total += turns * n
		}
		harness.All(t, bothWays(f, 0, 0, 1)...)
		s.wantRecords(t, "closed", total, total)
	})
}

// TestFullSegments has the bytes come in packets as they do on a wire: each of
// one segment, none joined by the interface.
func TestFullSegments(t *testing.T) {
	eachPath(t, everywhere, func(t *testing.T, s *site) {
		harness.Must(t, s.Offloads(false))
		n := int64(harness.Scale(32 << 20))
		harness.All(t, bothWays(s.open(t), n, n, 64<<10)...)
		s.wantRecords(t, "closed", n, n)
	})
}

func TestSmallMTU(t *testing.T) {
	eachPath(t, []layout{oneHop, oneHop6}, func(t *testing.T, s *site) {
		mtu := 576
		if s.v6 {
			mtu = 1280 // the least that IPv6 works on
		}
		for _, ns := range s.Namespaces {
			for _, link := range []*lab.Link{ns.Left, ns.Right} {
				if link != nil {
					harness.Must(t, ns.MTU(link, mtu))
				}
			}
		}
		harness.Must(t, s.Offloads(false))
		n := int64(harness.Scale(16 << 20))
		harness.All(t, bothWays(s.open(t), n, n, 64<<10)...)
		s.wantRecords(t, "closed", n, n)
	})
}
