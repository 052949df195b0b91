package gateway

import (
	"io"
	"net"
	"testing"

	"sluice/userspace/flow"
	"sluice/userspace/poll"
	"sluice/userspace/relay"
)

// lazyPath is splice, but counts 1,000 bytes more when it is asked.
type lazyPath struct{ *relay.Splice }

func (p lazyPath) Carry(f *flow.Flow, down, up poll.FD, over func(flow.End, string)) flow.Carriage {
	return lazyCarriage{p.Splice.Carry(f, down, up, over), f}
}

type lazyCarriage struct {
	flow.Carriage
	f *flow.Flow
}

func (c lazyCarriage) Tally() { c.f.Sent.Add(1000) }

// TestBytesAsksThePaths counts what only the path knows of, while the flow lives.
func TestBytesAsksThePaths(t *testing.T) {
	upstream := server(t, func(c *net.TCPConn) { io.Copy(c, c) })
	r := start(t, func(s *setup) {
		s.lead("api.test", upstream)
		s.paths = func(l *poll.Loop) ([]Path, error) {
			s, err := relay.New(l, 0)
			return []Path{lazyPath{s}}, err
		}
	})
	h := hello(t, "api.test")
	c := r.open(h)
	c.expect(h)
	if sent, received := r.Bytes(); sent != uint64(len(h))+1000 || received != uint64(len(h)) {
		t.Errorf("%d bytes sent and %d received, want %d and %d", sent, received, len(h)+1000, len(h))
	}
}
