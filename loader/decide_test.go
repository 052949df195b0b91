package loader

import (
	"encoding/binary"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"sluice/userspace/slot"
)

// way is a way in order, in the middle of a stream.
func way(change func(*decideWay)) decideWay {
	w := decideWay{
		Redirected: 1000, Passed: 500, Drained: 500,
		Next: 5000, Base: 70_000, Marks: slot.Seen | slot.Based,
		Mode: slot.Redirect, Credit: 1 << 20,
	}
	if change != nil {
		change(&w)
	}
	return w
}

// decide runs the decisions on a trial, to which it is given a pointer.
func decide(t *testing.T, p *ebpf.Program, trial any) {
	t.Helper()
	in, err := binary.Append(nil, binary.NativeEndian, trial)
	if err != nil {
		t.Fatal(err)
	}
	// BPF_PROG_TEST_RUN takes the packet for a frame with its header.
	out := make([]byte, len(in)+256)
	ret, err := p.Run(&ebpf.RunOptions{Data: in, DataOut: out})
	if err != nil || ret != 0 {
		t.Fatalf("run the program: %d, %v", ret, err)
	}
	if _, err := binary.Decode(out, binary.NativeEndian, trial); err != nil {
		t.Fatal(err)
	}
}

func loadTrials(t *testing.T) *decideObjects {
	t.Helper()
	needRoot(t)
	var o decideObjects
	if err := loadDecideObjects(&o, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return &o
}

func TestOrder(t *testing.T) {
	p := loadTrials(t).Decide
	for _, c := range []struct {
		name          string
		way           decideWay
		seq, end, len uint32
		order         slot.Reason
		trim          uint32
		ends          bool
	}{
		{"next", way(nil), 5000, 5100, 100, slot.Redirected, 0, false},
		{"next, with the end", way(nil), 5000, 5101, 100, slot.Redirected, 0, true},
		{"one byte", way(nil), 5000, 5001, 1, slot.Redirected, 0, false},
		{"the end alone", way(nil), 5000, 5001, 0, slot.Empty, 0, true},
		{"the end again", way(nil), 4999, 5000, 0, slot.Empty, 0, true},
		{"nothing at all", way(nil), 5000, 5000, 0, slot.Empty, 0, false},
		{"overlap of one", way(nil), 4999, 5100, 101, slot.Redirected, 1, false},
		{"overlap of all but one", way(nil), 4000, 5001, 1001, slot.Redirected, 1000, false},
		{"overlap with the end", way(nil), 4000, 5002, 1001, slot.Redirected, 1000, true},
		{"duplicate", way(nil), 4000, 5000, 1000, slot.Duplicate, 1000, false},
		{"old duplicate", way(nil), 1000, 2000, 1000, slot.Duplicate, 1000, false},
		{"duplicate with the end", way(nil), 4000, 5001, 1000, slot.Duplicate, 1000, true},
		{"gap of one", way(nil), 5001, 5100, 99, slot.Gap, 0, false},
		{"wide gap", way(nil), 5000 + 1<<30, 5100 + 1<<30, 100, slot.Gap, 0, false},
		{"gap before the end", way(nil), 5001, 5002, 0, slot.Gap, 0, true},
		{"too long for its numbers", way(nil), 5000, 5099, 100, slot.Malformed, 0, false},
		{"too short for its numbers", way(nil), 5000, 5102, 100, slot.Malformed, 0, false},
		{"after broken", way(func(w *decideWay) { w.Marks |= slot.Broken }), 5000, 5100, 100, slot.AfterBroken, 0, false},
		{"over the wrap", way(func(w *decideWay) { w.Next = 0xfffffff0 }), 0xfffffff0, 0x10, 32, slot.Redirected, 0, false},
		{"overlap over the wrap", way(func(w *decideWay) { w.Next = 8 }), 0xfffffff8, 0x10, 24, slot.Redirected, 16, false},
		{"gap over the wrap", way(func(w *decideWay) { w.Next = 0xfffffff0 }), 0, 0x10, 16, slot.Gap, 0, false},
		{"duplicate over the wrap", way(func(w *decideWay) { w.Next = 8 }), 0xfffffff0, 8, 24, slot.Duplicate, 24, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			trial := decideTrial{Way: c.way}
			trial.Piece.Seq, trial.Piece.End, trial.Piece.Len = c.seq, c.end, c.len
			decide(t, p, &trial)
			if got := slot.Reason(trial.Order); got != c.order || trial.Trim != c.trim || trial.Ends != 0 != c.ends {
				t.Errorf("order %v, trim %d, ends %d; want %v, %d, %t", got, trial.Trim, trial.Ends, c.order, c.trim, c.ends)
			}
		})
	}
}

func TestChoice(t *testing.T) {
	p := loadTrials(t).Decide
	// All of the way's 1,500 bytes are in the peer's queue, and 500 of them are
	// acknowledged.
	type far struct {
		found             bool
		writeSeq, sndUna  uint32
		room              int32
		foreign           uint32
		own, all          slot.Policy
		len               uint32
		change            func(*decideWay)
		choice            slot.Reason
		base, outstanding uint32
	}
	plain := func(change func(*far)) far {
		f := far{
			found: true, writeSeq: 71_500, sndUna: 70_500, room: 1 << 20, len: 100,
			all:    slot.Policy{Rule: slot.On, Credit: 1 << 20},
			choice: slot.Redirected, base: 70_000, outstanding: 1000,
		}
		change(&f)
		return f
	}
	for name, c := range map[string]far{
		"plain":  plain(func(*far) {}),
		"hold":   plain(func(f *far) { f.change = func(w *decideWay) { w.Mode = slot.Hold }; f.choice = slot.Held }),
		"free":   plain(func(f *far) { f.change = func(w *decideWay) { w.Mode = slot.Free }; f.choice = slot.Held }),
		"off":    plain(func(f *far) { f.own.Rule = slot.Off; f.choice = slot.SwitchedOff }),
		"on":     plain(func(f *far) { f.own.Rule = slot.On }),
		"alloff": plain(func(f *far) { f.own.Rule = slot.On; f.all.Rule = slot.Off; f.choice = slot.SwitchedOff }),
		"behind": plain(func(f *far) {
			f.change = func(w *decideWay) { w.Drained = 499 }
			f.choice = slot.Behind
		}),
		"alone":              plain(func(f *far) { f.found = false; f.choice = slot.NoPeer }),
		"in another's hands": plain(func(f *far) { f.foreign, f.choice = 1, slot.Foreign }),
		"just enough credit": plain(func(f *far) { f.own.Credit = 1001 }),
		"no credit left":     plain(func(f *far) { f.own.Credit = 1000; f.choice = slot.Credit }),
		"own credit counts":  plain(func(f *far) { f.own.Credit = 2000; f.all.Credit = 10 }),
		"default credit":     plain(func(f *far) { f.all.Credit = 1000; f.choice = slot.Credit }),
		"no credit at all":   plain(func(f *far) { f.all.Credit = 0; f.choice = slot.Credit }),
		"credit of the beginning": plain(func(f *far) {
			f.change = func(w *decideWay) { w.Credit = 1000 }
			f.choice = slot.Credit
		}),
		// A thousand of the bytes have yet to get into the write queue.
		"all on its way": plain(func(f *far) {
			f.writeSeq, f.own.Credit, f.choice = 70_500, 1000, slot.Credit
		}),
		"buffer full":   plain(func(f *far) { f.room, f.choice = 0, slot.NoRoom }),
		"buffer over":   plain(func(f *far) { f.room, f.choice = -5, slot.NoRoom }),
		"just fits":     plain(func(f *far) { f.room = 16384 + 100 }),
		"does not fit":  plain(func(f *far) { f.room, f.choice = 16384+99, slot.NoRoom }),
		"others before": plain(func(f *far) { f.writeSeq, f.room, f.choice = 71_400, 16384+199, slot.NoRoom }),
		"first bytes": plain(func(f *far) {
			f.change = func(w *decideWay) {
				*w = way(nil)
				w.Redirected, w.Passed, w.Drained, w.Base, w.Marks = 0, 0, 0, 0, slot.Seen
			}
			f.base, f.outstanding = 71_500, 1000
		}),
		// What was sent before is in the write queue already.
		"first after some passed": plain(func(f *far) {
			f.change = func(w *decideWay) { w.Redirected, w.Base, w.Marks = 0, 0, slot.Seen }
			f.base, f.outstanding = 71_000, 1000
		}),
		"wrap": plain(func(f *far) {
			f.change = func(w *decideWay) { w.Base = 0xffffff00 }
			f.writeSeq, f.sndUna, f.base, f.outstanding = 1244, 244, 0xffffff00, 1000
		}),
		"long stream": plain(func(f *far) {
			f.change = func(w *decideWay) { w.Redirected = 5<<32 + 1000 }
		}),
	} {
		t.Run(name, func(t *testing.T) {
			trial := decideTrial{Way: way(c.change)}
			if c.found {
				trial.Far.Found = 1
			}
			trial.Far.WriteSeq, trial.Far.SndUna, trial.Far.Room, trial.Far.Foreign = c.writeSeq, c.sndUna, c.room, c.foreign
			trial.Own.Rule, trial.Own.Credit = uint32(c.own.Rule), c.own.Credit
			trial.All.Rule, trial.All.Credit = uint32(c.all.Rule), c.all.Credit
			trial.Piece.Seq, trial.Piece.End, trial.Piece.Len = 5000, 5000+c.len, c.len
			decide(t, p, &trial)
			if got := slot.Reason(trial.Choice); got != c.choice {
				t.Errorf("choice %v, want %v", got, c.choice)
			}
			if c.choice == slot.Redirected && (trial.Way.Base != c.base || trial.Outstanding != c.outstanding) {
				t.Errorf("base %d, outstanding %d; want %d, %d", trial.Way.Base, trial.Outstanding, c.base, c.outstanding)
			}
		})
	}
}

// TestCountPassed tells userspace of the first bytes that it is left, and of none
// while it still has some.
func TestCountPassed(t *testing.T) {
	o := loadTrials(t)
	packet := make([]byte, 100)
	for _, c := range []struct {
		passed, drained uint64
		told            uint32
	}{{0, 0, 1}, {100, 0, 0}, {200, 100, 0}, {200, 200, 1}} {
		w := decideWay{Passed: c.passed, Drained: c.drained}
		if err := o.Way.Update(uint32(0), &w, ebpf.UpdateAny); err != nil {
			t.Fatal(err)
		}
		told, err := o.Pass.Run(&ebpf.RunOptions{Data: packet})
		if err != nil {
			t.Fatal(err)
		}
		if err := o.Way.Lookup(uint32(0), &w); err != nil {
			t.Fatal(err)
		}
		if told != c.told || w.Passed != c.passed+100 {
			t.Errorf("passed %d, drained %d: told %d, passed %d after it", c.passed, c.drained, told, w.Passed)
		}
	}
}

// TestLayout compares what the program and userspace share.
func TestLayout(t *testing.T) {
	want := map[string][2]uint32{}
	spec, err := loadSockmap()
	if err != nil {
		t.Fatal(err)
	}
	for name, goType := range goLayouts() {
		for member, place := range goType {
			want[name+"."+member] = place
		}
	}
	got := map[string][2]uint32{}
	for name := range goLayouts() {
		for member, place := range btfLayout(t, spec.Types, name) {
			got[name+"."+member] = place
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("layouts (- Go, + C):\n%s", diff)
	}
}
