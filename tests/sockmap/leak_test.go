package sockmap

import (
	"fmt"
	"io"
	"os"
	"testing"

	"sluice/userspace/flow"
)

// TestLeaks has many short flows come and go: maps and descriptors must be as they
// were. SLUICE_LONG=1 makes them 100,000.
func TestLeaks(t *testing.T) {
	total := scale(10_000, 100_000)
	const lanes = 16
	r := newRig(t, options{})
	before := descriptors(t)
	// Flows that are over are not remembered.
	short := func(i int) error {
		f := &testFlow{r: r, result: make(chan result, 1)}
		f.client, f.down = r.pair()
		f.server, f.up = r.pair()
		f.carryOn(r.path)
		defer f.client.Close()
		defer f.server.Close()
		n := 1 + i%5000
		if err := transmit(f.client, newSource(byte(i)), n, 2000); err != nil {
			return err
		}
		if i%3 == 0 {
			if err := f.client.SetLinger(0); err != nil {
				return err
			}
		}
		if i%2 == 0 { // end it in the middle
			f.client.Close()
		} else if err := expect(f.server, newSource(byte(i)), n); err != nil {
			return err
		}
		f.client.Close()
		_, _ = io.Copy(io.Discard, f.server)
		f.server.Close()
		if got := f.wait(); got.end != flow.Closed && got.end != flow.DownstreamReset {
			return fmt.Errorf("flow %d ends as %v %q", i, got.end, got.detail)
		}
		return nil
	}
	lane := func(l int) func() error {
		return func() error {
			for i := l; i < total; i += lanes {
				if err := short(i); err != nil {
					return err
				}
			}
			return nil
		}
	}
	var all []func() error
	for l := range lanes {
		all = append(all, lane(l))
	}
	parallel(t, all...)
	eventually(t, "all descriptors to be closed", func() bool { return descriptors(t) <= before })
	r.wantEmpty()
}

// scale is the size of a test: the second one with SLUICE_LONG in the environment.
func scale(short, long int) int {
	if os.Getenv("SLUICE_LONG") != "" {
		return long
	}
	return short
}
