package poll

import (
	"container/heap"
	"math"
	"time"
)

// Timer calls a function on its loop at a time. It is a plain field of whatever
// it belongs to; the zero value, with F set, is ready to be armed.
type Timer struct {
	F    func()
	when time.Duration
	pos  int // 1 + its place in the heap; 0: not armed
}

// forever is longer than any loop runs.
const forever = math.MaxInt64 / 2

// After arms t to go off d from now, or moves it there when it is armed.
func (l *Loop) After(t *Timer, d time.Duration) {
	d = min(d, forever) // or the sum would overflow
	t.when = max(l.elapsed()+d, l.now+1)
	if t.pos > 0 {
		heap.Fix(&l.timers, t.pos-1)
		return
	}
	heap.Push(&l.timers, t)
}

// Cancel disarms t, which may be idle.
func (l *Loop) Cancel(t *Timer) {
	if t.pos > 0 {
		heap.Remove(&l.timers, t.pos-1)
	}
}

// timers is a heap by time.
type timers []*Timer

func (ts timers) Len() int           { return len(ts) }
func (ts timers) Less(i, j int) bool { return ts[i].when < ts[j].when }

func (ts timers) Swap(i, j int) {
	ts[i], ts[j] = ts[j], ts[i]
	ts[i].pos, ts[j].pos = i+1, j+1
}

func (ts *timers) Push(x any) {
	t := x.(*Timer)
	*ts = append(*ts, t)
	t.pos = len(*ts)
}

func (ts *timers) Pop() any {
	last := len(*ts) - 1
	t := (*ts)[last]
	(*ts)[last] = nil
	*ts = (*ts)[:last]
	t.pos = 0
	return t
}

func (ts timers) next() (time.Duration, bool) {
	if len(ts) == 0 {
		return 0, false
	}
	return ts[0].when, true
}

// expire calls what is due at now. A function may arm and cancel any timer, its
// own too: what it arms is due later than now, so that none can hold the loop.
func (ts *timers) expire(now time.Duration) {
	for len(*ts) > 0 && (*ts)[0].when <= now {
		heap.Pop(ts).(*Timer).F()
	}
}
