package loader

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"sluice/userspace/slot"
)

// Events is one worker's ring of events. It belongs to that worker.
type Events struct {
	ring   *ebpf.Map
	reader *ringbuf.Reader
	record ringbuf.Record
}

// Events makes the ring of a worker, below Options.Workers, and has the program
// write to it. The worker closes it.
func (d *Datapath) Events(worker int) (slot.Source, error) {
	ring, err := ebpf.NewMap(&ebpf.MapSpec{
		Name:       "ring",
		Type:       ebpf.RingBuf,
		MaxEntries: uint32(ringSize(d.opts.Flows)),
	})
	if err != nil {
		return nil, fmt.Errorf("make a ring buffer: %w", err)
	}
	reader, err := ringbuf.NewReader(ring)
	if err != nil {
		ring.Close()
		return nil, fmt.Errorf("read a ring buffer: %w", err)
	}
	e := &Events{ring: ring, reader: reader}
	// Whoever waits does so by the descriptor.
	reader.SetDeadline(time.Unix(1, 0))
	if err := d.objects.Rings.Update(uint32(worker), ring, ebpf.UpdateAny); err != nil {
		e.Close()
		return nil, fmt.Errorf("give worker %d its ring buffer: %w", worker, err)
	}
	return e, nil
}

// FD is readable when there are events.
func (e *Events) FD() int { return e.ring.FD() }

// Next returns the next event, and false when there is none now.
func (e *Events) Next() (slot.Event, bool, error) {
	err := e.reader.ReadInto(&e.record)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return slot.Event{}, false, nil
	}
	if err != nil {
		return slot.Event{}, false, fmt.Errorf("read a ring buffer: %w", err)
	}
	raw := e.record.RawSample
	if len(raw) < 8 {
		return slot.Event{}, false, fmt.Errorf("an event of %d bytes", len(raw))
	}
	return slot.Event{
		Way:  binary.NativeEndian.Uint32(raw),
		Kind: slot.EventKind(binary.NativeEndian.Uint32(raw[4:])),
	}, true, nil
}

// Close frees the ring.
func (e *Events) Close() error { return errors.Join(e.reader.Close(), e.ring.Close()) }
