package poll

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTimersGoOffInOrder(t *testing.T) {
	l := newLoop(t)
	delays := []time.Duration{7, 3, 0, 9, 1, 5, -4}
	var got []time.Duration
	for _, d := range delays {
		d *= time.Millisecond
		timer := &Timer{}
		timer.F = func() {
			if l.Now() < d {
				t.Errorf("timer of %v goes off at %v", d, l.Now())
			}
			if got = append(got, d/time.Millisecond); len(got) == len(delays) {
				l.Stop()
			}
		}
		l.After(timer, d)
	}
	runUntilStopped(t, l)
	if diff := cmp.Diff([]time.Duration{-4, 0, 1, 3, 5, 7, 9}, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestTimerArmsItself(t *testing.T) {
	l := newLoop(t)
	n := 0
	var last time.Duration
	var timer Timer
	timer.F = func() {
		if n > 0 && l.Now() < last+time.Millisecond {
			t.Errorf("goes off at %v, armed for 1ms at %v", l.Now(), last)
		}
		if n++; n == 10 {
			l.Stop()
			return
		}
		last = l.Now()
		l.After(&timer, time.Millisecond)
	}
	l.After(&timer, 0)
	runUntilStopped(t, l)
	if n != 10 || len(l.timers) != 0 {
		t.Errorf("%d calls, %d still armed; want 10 and 0", n, len(l.timers))
	}
}

// TestTimerDoesNotHoldTheLoop arms itself for at once, for ever.
func TestTimerDoesNotHoldTheLoop(t *testing.T) {
	l := newLoop(t)
	n := 0
	var timer Timer
	timer.F = func() { n++; l.After(&timer, 0) }
	l.After(&timer, 0)
	_, peer := watched(t, l, In, handlerFunc(func(Events) { l.Stop() }))
	second := Timer{F: func() { write(t, peer, "a") }}
	l.After(&second, 5*time.Millisecond)
	runUntilStopped(t, l)
	if n < 2 {
		t.Errorf("%d calls of the timer that arms itself", n)
	}
}

func TestTimerCancelsAnotherThatIsDue(t *testing.T) {
	l := newLoop(t)
	var timers [2]Timer
	n := 0
	for i := range timers {
		timers[i].F = func() {
			n++
			l.Cancel(&timers[1-i])
			rounds(l, 3, l.Stop)
		}
		l.After(&timers[i], 0)
	}
	l.Cancel(&timers[0])
	l.Cancel(&timers[0]) // idle: no effect
	l.After(&timers[0], 0)
	// Both are due by the time of the first round.
	for l.elapsed() <= max(timers[0].when, timers[1].when) {
		time.Sleep(time.Microsecond)
	}
	runUntilStopped(t, l)
	if n != 1 {
		t.Errorf("%d timers went off, want 1: the first cancels the other", n)
	}
}

func TestAfterMovesAnArmedTimer(t *testing.T) {
	l := newLoop(t)
	moved := Timer{F: func() { t.Error("goes off at its first time") }}
	l.After(&moved, 0)
	l.After(&moved, time.Hour)
	if len(l.timers) != 1 {
		t.Errorf("%d timers, want 1", len(l.timers))
	}
	stop := Timer{F: l.Stop}
	l.After(&stop, time.Hour)
	l.After(&stop, 2*time.Millisecond)
	runUntilStopped(t, l)
}

func TestTimerOfLongDelay(t *testing.T) {
	l := newLoop(t)
	never := Timer{F: func() { t.Error("goes off at once") }}
	l.After(&never, math.MaxInt64)
	if ms := l.timeout(); ms != math.MaxInt32 {
		t.Errorf("waits %d ms, want the longest that epoll_wait takes", ms)
	}
	rounds(l, 3, l.Stop)
	runUntilStopped(t, l)
}

func TestTimeout(t *testing.T) {
	l := newLoop(t)
	defer l.Discard()
	if ms := l.timeout(); ms != -1 {
		t.Errorf("with nothing to come: %d ms, want -1, for ever", ms)
	}
	timer := Timer{F: func() {}}
	l.After(&timer, time.Hour)
	if ms := l.timeout(); ms < 3_500_000 || ms > 3_600_000 {
		t.Errorf("with a timer in an hour: %d ms", ms)
	}
	l.Again(handlerFunc(func(Events) {}), 0)
	if ms := l.timeout(); ms != 0 {
		t.Errorf("with work left: %d ms, want 0", ms)
	}
}

// TestTimersAgainstAList arms, moves and cancels timers at random and compares
// with a list that is searched.
func TestTimersAgainstAList(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	l := newLoop(t)
	defer l.Discard()
	var fired []int
	all := make([]Timer, 50)
	model := map[int]time.Duration{}
	for i := range all {
		all[i].F = func() { fired = append(fired, i) }
	}
	for range 20_000 {
		i := r.IntN(len(all))
		switch op := r.IntN(10); {
		case op < 6:
			l.After(&all[i], time.Duration(r.IntN(1000))*time.Hour)
			model[i] = all[i].when
		case op < 9:
			l.Cancel(&all[i])
			delete(model, i)
		default:
			now := time.Duration(r.IntN(1000)) * time.Hour
			var want []int
			for i, when := range model {
				if when <= now {
					want = append(want, i)
				}
			}
			slices.SortFunc(want, func(a, b int) int { return int(model[a] - model[b]) })
			fired = nil
			l.timers.expire(now)
			if !slices.Equal(fired, want) {
				t.Fatalf("fired %v, want %v", fired, want)
			}
			for _, i := range want {
				delete(model, i)
			}
		}
		if len(l.timers) != len(model) {
			t.Fatalf("%d armed, want %d", len(l.timers), len(model))
		}
	}
}
