package poll

import (
	"runtime"
	"testing"
	"time"
)

// TestBusyLoopIsStoppable collects garbage, for which Go stops all threads, while a
// loop waits that has not said so.
func TestBusyLoopIsStoppable(t *testing.T) {
	if !interruptible {
		t.Skip("GODEBUG has asyncpreemptoff=1")
	}
	l := runs(t)
	for range 20 {
		waits := make(chan bool)
		l.Post(func() {
			// Were it not stoppable, all of this program would stand until then.
			l.After(&Timer{F: func() {}}, patience)
			l.busy = true
			rounds(l, 3, func() { waits <- l.busy })
		})
		if !await(t, "some rounds", waits) {
			t.Log("the machine is slow: the loop is not busy")
		}
		begun := time.Now()
		runtime.GC()
		if took := time.Since(begun); took > patience/2 {
			t.Fatalf("the loop held up the garbage collector for %v", took)
		}
	}
}

// TestQuietLoopSaysThatItWaits has a loop fall quiet.
func TestQuietLoopSaysThatItWaits(t *testing.T) {
	l := newLoop(t)
	l.busy = true
	l.After(&Timer{F: func() {
		if l.busy {
			t.Errorf("busy after a wait of %v", 5*brief)
		}
		l.Stop()
	}}, 5*brief)
	runUntilStopped(t, l)
}

// TestUninterruptibleLoop does without.
func TestUninterruptibleLoop(t *testing.T) {
	defer func(old bool) { interruptible = old }(interruptible)
	interruptible = false
	l := newLoop(t)
	rounds(l, 100, l.Stop)
	runUntilStopped(t, l)
}

// TestPerWake has wake-ups of one event, and then of three.
func TestPerWake(t *testing.T) {
	l := newLoop(t)
	var peers []int
	wakes := 0
	next := func() {
		if wakes++; wakes == 20*wakesKept {
			l.Stop()
			return
		}
		n := 1
		if wakes > 10*wakesKept {
			n = len(peers)
		}
		if got := l.PerWake(); wakes == 10*wakesKept && (got < 0.9 || got > 1.1) {
			t.Errorf("%v events per wake-up, of one each", got)
		}
		for _, peer := range peers[:n] {
			write(t, peer, "x")
		}
	}
	for i := range 3 {
		var f FD
		f, peer := watched(t, l, In, handlerFunc(func(Events) {
			read(t, f.Sys)
			if i == 0 {
				// After those of the same wake-up.
				rounds(l, 0, next)
			}
		}))
		peers = append(peers, peer)
	}
	rounds(l, 0, next)
	runUntilStopped(t, l)
	if got := l.PerWake(); got < 2.5 || got > 3.1 {
		t.Errorf("%v events per wake-up, of three each", got)
	}
}
