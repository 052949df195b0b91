package consul

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// block is 127.N.0.0/16, claimed for one cluster of this host.
type block struct {
	n    byte
	hold net.Listener // the claim: nobody else can have it, and it ends with the process
}

// claimPort is a port of Consul's own, so that an agent that somebody runs on all
// addresses is met here, and not by an agent that cannot bind.
const claimPort = 8300

// claimBlock takes the first block that nobody has.
func claimBlock() (*block, error) {
	var last error
	for n := 1; n < 255; n++ {
		b := &block{n: byte(n)}
		hold, err := net.Listen("tcp4", netip.AddrPortFrom(b.addr(0, 1), claimPort).String())
		if err == nil {
			b.hold = hold
			return b, nil
		}
		last = err
	}
	return nil, fmt.Errorf("consul: no block of loopback addresses is free (does a Consul listen on all addresses?): %w", last)
}

// addr is the block's address 127.N.DATACENTER.HOST.
func (b *block) addr(datacenter, host int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, b.n, byte(datacenter), byte(host)})
}

// release gives the block up. A second release does nothing.
func (b *block) release() error {
	if err := b.hold.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
