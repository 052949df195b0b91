package sockmap

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestHostQueueDrops has the host's own queue drop packets. TCP then counts them as
// sent twice, but not as retransmitted: the length of a stream must not be taken from
// those counters, or its end would be passed on too early.
func TestHostQueueDrops(t *testing.T) {
	r, l := newLabRig(t, options{})
	gateway := l.NS("gateway")
	for _, link := range []string{"west", "east"} {
		if _, err := gateway.Output(t.Context(), "tc", "qdisc", "add", "dev", link, "root", "tbf",
			"rate", "100mbit", "burst", "100k", "limit", "30k"); err != nil {
			t.Fatal(err)
		}
	}
	const n = 4 << 20
	f := r.carry()
	parallel(t,
		func() error { return transmit(f.client, newSource(1), n, 100_000) },
		func() error { return expect(f.server, newSource(1), n) })
	info, err := unix.GetsockoptTCPInfo(f.up, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		t.Fatal(err)
	}
	counted := info.Bytes_sent - info.Bytes_retrans + uint64(info.Notsent_bytes)
	t.Logf("the counters have %d bytes for %d", counted, n)
	if counted <= n {
		t.Error("no drop was counted wrong: nothing was tested")
	}
	r.transfer(t, n)
}
