package poll

import (
	"context"
	"errors"
	"sync"
	"testing"
)

// TestPostFromManyGoroutines needs no lock around got: all is called on the loop.
func TestPostFromManyGoroutines(t *testing.T) {
	l := runs(t)
	const senders, each = 16, 2000
	var got [senders][]int
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range each {
				if !l.Post(func() { got[s] = append(got[s], i) }) {
					t.Error("Post refuses while the loop runs")
				}
			}
		})
	}
	wg.Wait()
	if err := l.Do(t.Context(), func() {}); err != nil {
		t.Fatal(err)
	}
	for s := range senders {
		if len(got[s]) != each {
			t.Fatalf("%d calls for sender %d, want %d", len(got[s]), s, each)
		}
		for i, v := range got[s] {
			if v != i {
				t.Fatalf("sender %d: call %d is the one posted as %d", s, i, v)
			}
		}
	}
}

func TestPostFromTheLoop(t *testing.T) {
	l := newLoop(t)
	n := 0
	var f func()
	f = func() {
		if n++; n == 1000 {
			l.Stop()
			return
		}
		l.Post(f)
	}
	l.Post(f)
	runUntilStopped(t, l)
	if n != 1000 {
		t.Errorf("%d calls, want 1000", n)
	}
}

func TestDoWaits(t *testing.T) {
	l := runs(t)
	called := false
	if err := l.Do(t.Context(), func() { called = true }); err != nil || !called {
		t.Errorf("Do returns %v, called %t", err, called)
	}
}

func TestDoGivesUpWithItsContext(t *testing.T) {
	l := runs(t)
	hold, held := make(chan struct{}), make(chan struct{})
	l.Post(func() { close(held); <-hold })
	await(t, "the loop to be busy", held)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Do(ctx, func() {}); !errors.Is(err, context.Canceled) {
		t.Errorf("Do on a busy loop returns %v, want %v", err, context.Canceled)
	}
	close(hold)
}

// TestDoWhileItEnds races Do against the end: none may hang, and each must say
// truly whether its function was called.
func TestDoWhileItEnds(t *testing.T) {
	for range 200 {
		l := newLoop(t)
		const callers = 8
		var called [callers]bool
		var errs [callers]error
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				for errs[i] == nil {
					called[i] = false
					errs[i] = l.Do(t.Context(), func() { called[i] = true })
					if errs[i] == nil && !called[i] {
						t.Error("Do returns nil without a call")
					}
				}
			})
		}
		wg.Go(func() { l.Post(l.Stop) })
		runUntilStopped(t, l)
		all := make(chan struct{})
		go func() { wg.Wait(); close(all) }()
		await(t, "all callers to return", all)
		for i := range callers {
			if errs[i] != ErrClosed || called[i] {
				t.Fatalf("Do returns %v after the end, called %t", errs[i], called[i])
			}
		}
	}
}

func TestDoThatStops(t *testing.T) {
	for range 200 {
		l := newLoop(t)
		errs := make(chan error, 1)
		go func() { errs <- l.Do(t.Context(), l.Stop) }()
		runUntilStopped(t, l)
		if err := await(t, "Do", errs); err != nil {
			t.Fatalf("Do returns %v though its function was called", err)
		}
	}
}

func TestDoOnDiscarded(t *testing.T) {
	l := newLoop(t)
	l.Discard()
	if err := l.Do(t.Context(), func() {}); err != ErrClosed {
		t.Errorf("Do returns %v, want %v", err, ErrClosed)
	}
}
