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
