package sockmap

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
)

// TestEarlyBytes is fact 3: what arrived before the insert would wait for the next
// segment.
func TestEarlyBytes(t *testing.T) {
	for _, n := range []int{1, 500, 40_000} { // the first window of kernel 6.1 has room for no more than 64 KiB
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			r := newRig(t, options{})
			f := r.connect()
			parallel(t,
				func() error { return transmit(f.client, newSource(1), n, 1000) },
				func() error { return transmit(f.server, newSource(2), n, 1000) })
			acknowledged(t, f.client)
			acknowledged(t, f.server)
			f.start()
			parallel(t,
				func() error { return expect(f.server, newSource(1), n) },
				func() error { return expect(f.client, newSource(2), n) })
			f.client.Close()
			f.server.Close()
			if got := f.wait(); got.end != flow.Closed {
				t.Errorf("the flow ends as %v %q", got.end, got.detail)
			}
		})
	}
}

// TestReadInPart begins with a packet of which a part has been read: the kernel
// hands over all of it.
func TestReadInPart(t *testing.T) {
	for _, read := range []int{1, 999, 4096, 20_000} {
		t.Run(fmt.Sprint(read), func(t *testing.T) {
			const n = 30_000
			r := newRig(t, options{})
			f := r.connect()
			src := newSource(1)
			if err := transmit(f.client, src, n, n); err != nil {
				t.Fatal(err)
			}
			acknowledged(t, f.client)
			if got, _, err := unix.Recvfrom(f.down, make([]byte, read), 0); got != read || err != nil {
				t.Fatalf("read %d bytes, %v", got, err)
			}
			f.start()
			rest := newSource(1)
			rest.Read(make([]byte, read))
			if err := expect(f.server, rest, n-read); err != nil {
				t.Error(err)
			}
			parallel(t,
				func() error { return transmit(f.client, src, n, 1000) },
				func() error { return expect(f.server, rest, n) })
		})
	}
}
