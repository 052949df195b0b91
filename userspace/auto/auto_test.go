package auto

import (
	"errors"
	"testing"
	"time"

	"sluice/userspace/flow"
	"sluice/userspace/poll"
)

// fake is both paths, which note what they are asked.
type fake struct {
	quiet  func()
	leaves bool  // now is a moment to leave
	refuse error // of sockmap
	shared float64

	admits, left, carried int
}

func (f *fake) CarryWatched(_ *flow.Flow, _, _ poll.FD, _ func(flow.End, string), watch flow.Watch) flow.Movable {
	f.quiet = watch.Quiet
	return splice{f}
}

func (f *fake) PerWake() float64 { return f.shared }

func (f *fake) Admit(*flow.Flow) error { f.admits++; return f.refuse }

func (f *fake) Carry(fl *flow.Flow, _, _ poll.FD, _ func(flow.End, string)) flow.Carriage {
	f.carried++
	fl.Path = "sockmap"
	return splice{f}
}

type splice struct{ *fake }

func (splice) Active() time.Duration { return 0 }
func (splice) Abort(flow.End)        {}
func (splice) Tally()                {}
func (s splice) Leave() bool         { s.left++; return s.leaves }
func (splice) Holds(int) bool        { return false }

// play begins a flow and returns what moves it.
func play(f *fake) (*flow.Flow, func(sent, received int)) {
	fl := new(flow.Flow)
	New(f, f, f).Carry(fl, poll.FD{}, poll.FD{}, func(flow.End, string) {})
	return fl, func(sent, received int) {
		fl.Sent.Add(uint64(sent))
		fl.Received.Add(uint64(received))
		f.quiet()
	}
}

func TestInteractiveMoves(t *testing.T) {
	f := &fake{leaves: true}
	fl, move := play(f)
	for i := range turnsEnough / 2 {
		if f.carried > 0 {
			t.Fatalf("moved after %d exchanges", i)
		}
		move(100, 0)
		move(0, 100)
	}
	move(100, 0) // the first one began no turn
	if f.carried != 1 || fl.Path != "sockmap" {
		t.Errorf("carried %d times by sockmap, path %s", f.carried, fl.Path)
	}
	move(100, 0) // too late for anything
	if f.left != 1 || f.carried != 1 {
		t.Errorf("left %d times, carried %d times", f.left, f.carried)
	}
}

// TestBusyLoopKeeps has wake-ups be for several flows at once, and then not.
func TestBusyLoopKeeps(t *testing.T) {
	f := &fake{leaves: true, shared: sharedWakes}
	fl, move := play(f)
	for range 10 * turnsEnough {
		move(100, 0)
		move(0, 100)
	}
	if f.carried != 0 || fl.Path != "splice" {
		t.Fatalf("moved to %s", fl.Path)
	}
	f.shared = 1
	move(100, 0)
	if f.carried != 1 || fl.Path != "sockmap" {
		t.Errorf("carried %d times by sockmap, path %s", f.carried, fl.Path)
	}
}

func TestStreamsStay(t *testing.T) {
	for _, c := range []struct {
		name           string
		sent, received int
	}{
		{"one way", 1000, 0},
		{"a large request each time", turnMost + 1, 100},
		{"a large answer each time", 100, turnMost + 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fake{leaves: true}
			fl, move := play(f)
			for range 100 {
				move(c.sent, 0)
				move(0, c.received)
			}
			if f.carried > 0 || fl.Path != "splice" {
				t.Errorf("path %s", fl.Path)
			}
		})
	}
}

// TestManyPieces: a large turn is one, however many pieces it comes in.
func TestManyPieces(t *testing.T) {
	f := &fake{leaves: true}
	_, move := play(f)
	for range 100 {
		for range 20 {
			move(1000, 0)
		}
		move(0, 100)
	}
	if f.carried > 0 {
		t.Error("a stream in small pieces was moved")
	}
}

func TestWaitsForTheMoment(t *testing.T) {
	f := &fake{}
	_, move := play(f)
	for range 2 * turnsEnough {
		move(1, 0)
		move(0, 1)
	}
	if f.left < 2 || f.carried > 0 {
		t.Fatalf("asked %d times, carried %d", f.left, f.carried)
	}
	f.leaves = true
	move(1, 0)
	if f.carried != 1 {
		t.Error("not moved when it could be")
	}
}

func TestRefusedStays(t *testing.T) {
	f := &fake{leaves: true, refuse: errors.New("off")}
	_, move := play(f)
	for range 100 {
		move(1, 0)
		move(0, 1)
	}
	if f.admits != 1 || f.left > 0 || f.carried > 0 {
		t.Errorf("asked %d times, left %d, carried %d", f.admits, f.left, f.carried)
	}
}
