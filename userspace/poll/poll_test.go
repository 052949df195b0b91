package poll

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestEventsReachTheirHandler(t *testing.T) {
	l := newLoop(t)
	var got []string
	var f FD
	var peer int
	second := handlerFunc(func(ev Events) {
		got = append(got, "second: "+read(t, f.Sys))
		if !ev.Has(In) || ev.Has(Out|RdHup|Hup|Err) {
			t.Errorf("events of a readable socket watched for In: %#x", ev)
		}
		l.Stop()
	})
	first := handlerFunc(func(Events) {
		got = append(got, "first: "+read(t, f.Sys))
		l.Handle(f, second)
		write(t, peer, "b")
	})
	f, peer = watched(t, l, In, first)
	write(t, peer, "a")
	runUntilStopped(t, l)
	if len(got) != 2 || got[0] != "first: a" || got[1] != "second: b" {
		t.Errorf("handlers were called as %q", got)
	}
}

func TestWatchChangesWhatIsTold(t *testing.T) {
	l := newLoop(t)
	calls := 0
	var f FD
	f, peer := watched(t, l, In, handlerFunc(func(ev Events) {
		switch calls++; calls {
		case 1:
			// Still readable, but not to be told for some rounds.
			if err := l.Watch(f, 0); err != nil {
				t.Error(err)
			}
			rounds(l, 5, func() {
				if calls != 1 {
					t.Error("told of what it was not watched for")
				}
				if err := l.Watch(f, In|Out); err != nil {
					t.Error(err)
				}
			})
		case 2:
			if !ev.Has(In) || !ev.Has(Out) {
				t.Errorf("events %#x, want In and Out", ev)
			}
			l.Stop()
		}
	}))
	write(t, peer, "a")
	runUntilStopped(t, l)
}

// rounds calls f when n more rounds are over.
func rounds(l *Loop, n int, f func()) {
	var step handlerFunc
	step = func(Events) {
		if n--; n < 0 {
			f()
			return
		}
		l.Again(step, 0)
	}
	l.Again(step, 0)
}

func TestStreamTellsChangesOnce(t *testing.T) {
	l := newLoop(t)
	var seen []Events
	_, peer := watched(t, l, Stream, handlerFunc(func(ev Events) { seen = append(seen, ev) }))
	rounds(l, 3, func() {
		if err := unix.Shutdown(peer, unix.SHUT_WR); err != nil {
			t.Error(err)
		}
		rounds(l, 3, l.Stop)
	})
	runUntilStopped(t, l)
	if len(seen) != 2 || !seen[0].Has(Out) || seen[0].Has(In) || !seen[1].Has(RdHup) || !seen[1].Has(In) {
		t.Errorf("events %#x, want room to write and then the end, once each", seen)
	}
}

// TestCloseWithinABatch has two descriptors ready at once. Whichever is told
// first closes the other, and puts a new one into its place, which takes the
// number of the descriptor too: the event that is still in the batch is not for
// the new one.
func TestCloseWithinABatch(t *testing.T) {
	l := newLoop(t)
	var fds [2]FD
	told, stale, fresh := 0, 0, 0
	var newPeer int
	for i := range fds {
		var peer int
		fds[i], peer = watched(t, l, In, handlerFunc(func(Events) {
			told++
			other := fds[1-i]
			read(t, fds[i].Sys)
			l.Close(other)
			var f FD
			f, newPeer = watched(t, l, In, handlerFunc(func(Events) { stale++ }))
			if f.slot != other.slot || f.Sys != other.Sys {
				t.Errorf("the new one is %+v, want the place of %+v", f, other)
			}
			rounds(l, 3, func() {
				l.Handle(f, handlerFunc(func(Events) {
					fresh++
					l.Stop()
				}))
				write(t, newPeer, "b")
			})
		}))
		write(t, peer, "a")
	}
	runUntilStopped(t, l)
	if told != 1 || stale != 0 || fresh != 1 {
		t.Errorf("told %d, stale %d, fresh %d; want 1, 0, 1", told, stale, fresh)
	}
}

func TestCloseForgets(t *testing.T) {
	l := newLoop(t)
	f, peer := watched(t, l, In, handlerFunc(func(Events) { t.Error("told after Close") }))
	write(t, peer, "a")
	l.Close(f)
	if _, err := unix.FcntlInt(uintptr(f.Sys), unix.F_GETFD, 0); err != unix.EBADF {
		t.Errorf("the descriptor is not closed: %v", err)
	}
	rounds(l, 3, l.Stop)
	runUntilStopped(t, l)
	if (FD{}).Valid() || !f.Valid() {
		t.Error("only the zero FD is not valid")
	}
}

func TestAddFails(t *testing.T) {
	l := newLoop(t)
	defer l.Discard()
	file, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	f, _ := watched(t, l, In, handlerFunc(func(Events) {}))
	for name, c := range map[string]struct {
		fd   int
		want error
	}{
		"closed":      {1 << 19, unix.EBADF},
		"not a queue": {int(file.Fd()), unix.EPERM},
		"there twice": {f.Sys, unix.EEXIST},
	} {
		if got, err := l.Add(c.fd, In, handlerFunc(func(Events) {})); !errors.Is(err, c.want) || got.Valid() {
			t.Errorf("%s: Add returns %+v, %v; want none and %v", name, got, err, c.want)
		}
	}
	if len(l.slots) != 2 || len(l.free) != 1 {
		t.Errorf("%d slots, %d free: a failed Add must not use one up", len(l.slots), len(l.free))
	}
}

// TestAgainLetsOthersIn keeps three handlers going on for ever: descriptors,
// timers and posted functions have their turns all the same.
func TestAgainLetsOthersIn(t *testing.T) {
	l := newLoop(t)
	var turns [3]int
	for i := range turns {
		var h handlerFunc
		h = func(ev Events) {
			if ev != Out {
				t.Errorf("called with %#x, want what Again was given", ev)
			}
			turns[i]++
			l.Again(h, Out)
		}
		l.Again(h, Out)
	}
	var done [3]bool
	finish := func(i int) {
		done[i] = true
		if done == [3]bool{true, true, true} {
			l.Stop()
		}
	}
	var f FD
	f, peer := watched(t, l, In, handlerFunc(func(Events) { read(t, f.Sys); finish(0) }))
	timer := Timer{F: func() { finish(1) }}
	rounds(l, 100, func() {
		write(t, peer, "a")
		l.After(&timer, 0)
		l.Post(func() { finish(2) })
	})
	runUntilStopped(t, l)
	for _, n := range turns {
		if n < 100 || n != turns[0] {
			t.Errorf("turns %v, want as many for each", turns)
		}
	}
}

func TestRunFreesItsDescriptors(t *testing.T) {
	descriptors(t) // whatever the first look opens
	before := descriptors(t)
	l := newLoop(t)
	f, peer := watched(t, l, In, handlerFunc(func(Events) { l.Stop() }))
	if got := descriptors(t); got != before+4 {
		t.Errorf("a loop and a pair of sockets have %d descriptors, want 4", got-before)
	}
	write(t, peer, "a")
	runUntilStopped(t, l)
	if got := descriptors(t); got != before+2 {
		t.Errorf("%d descriptors are left, want the pair", got-before)
	}
	if got := read(t, f.Sys); got != "a" {
		t.Errorf("read %q from the descriptor left open", got)
	}
	newLoop(t).Discard()
	if got := descriptors(t); got != before+2 {
		t.Error("Discard leaves descriptors")
	}
}

func TestStopEndsTheRound(t *testing.T) {
	l := newLoop(t)
	after := 0
	for range 2 {
		_, peer := watched(t, l, In, handlerFunc(func(Events) { l.Stop(); after++ }))
		write(t, peer, "a")
	}
	l.Again(handlerFunc(func(Events) { after++ }), 0)
	runUntilStopped(t, l)
	if after != 3 {
		t.Errorf("%d calls in the round that was stopped, want all 3", after)
	}
	if l.Post(func() { t.Error("called after the end") }) {
		t.Error("Post takes a function after the end")
	}
}

func TestStopBeforeRun(t *testing.T) {
	l := newLoop(t)
	called := false
	l.Post(func() { called = true })
	l.Stop()
	runUntilStopped(t, l)
	if !called {
		t.Error("what Post took was not called")
	}
}
