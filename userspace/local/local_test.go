package local

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
	"sluice/userspace/poll"
	"sluice/userspace/rehearsal"
	"sluice/userspace/route"
	"sluice/userspace/slot"
)

// fake is the kernel and both of the other paths.
type fake struct {
	ways    []slot.Local
	remote  bool // nobody is here
	answers [2][]slot.Enrolled
	refuse  error // of Insert
	err     error // of Enrol

	inserted, enrolled int
	quiet              func()
	unread             func(way int) bool
	waiting            map[uint64]bool // by cookie of the near end
	over               func(flow.End, string)
	holds, stays       bool
	held               bool // by an operator
	left, passed       int
}

func (f *fake) Ways() []slot.Local { return f.ways }

func (f *fake) Insert(uint64, int) error { f.inserted++; return f.refuse }

func (f *fake) Find(own, other netip.AddrPort) (bool, error) {
	return !f.remote && own.IsValid() && other.IsValid() && own != other, nil
}

// Enrol answers in the order of the way's list, and in the end that it enrols.
func (f *fake) Enrol(_, _ netip.AddrPort, near, target uint64, index uint32) (slot.Enrolled, error) {
	f.enrolled++
	answers := &f.answers[index%2]
	if told := f.ways[index].Target.Load(); f.err != nil || near == target || told != target && !(f.held && told == 0) {
		return 0, errors.Join(f.err, errors.New("a bad enrolment"))
	}
	if len(*answers) == 0 {
		return slot.Enrolls, nil
	}
	answer := (*answers)[0]
	*answers = (*answers)[1:]
	return answer, nil
}

func (f *fake) Unread(near uint64) (bool, error) { return f.waiting[near], f.err }

func (f *fake) Messages() (m [slot.Messages]uint64, err error) { return m, nil }

func (f *fake) CarryWatched(_ *flow.Flow, _, _ poll.FD, over func(flow.End, string), watch flow.Watch) flow.Movable {
	f.over, f.quiet, f.unread = over, watch.Quiet, watch.Unread
	return carried{f}
}

func (f *fake) Name() string           { return "auto" }
func (f *fake) Admit(*flow.Flow) error { return f.refuse }

func (f *fake) Carry(fl *flow.Flow, _, _ poll.FD, over func(flow.End, string)) flow.Carriage {
	f.passed++
	f.over = over
	fl.Path = "splice"
	return carried{f}
}

type carried struct{ *fake }

func (carried) Active() time.Duration { return 0 }
func (carried) Abort(flow.End)        {}
func (carried) Tally()                {}
func (c carried) Leave() bool         { c.left++; return !c.stays }
func (c carried) Holds(int) bool      { return c.holds }

// stage is a flow between sockets on loopback.
type stage struct {
	*fake
	engine *Engine
	path   *Path
	flow   flow.Flow
	fds    [2]poll.FD
	c      flow.Carriage
	ended  int
}

func newStage(t *testing.T, f *fake) *stage {
	t.Helper()
	f.ways = make([]slot.Local, 4)
	s := &stage{fake: f, engine: New(f)}
	loop, err := poll.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(loop.Discard)
	s.path = s.engine.Path(loop, f, f)
	listen, err := rehearsal.Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(listen)
	for i := range s.fds {
		peer, own, err := rehearsal.Connection(listen)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(peer); unix.Close(own) })
		s.fds[i] = poll.FD{Sys: own}
	}
	return s
}

func (s *stage) carry() {
	s.c = s.path.Carry(&s.flow, s.fds[0], s.fds[1], func(flow.End, string) { s.ended++ })
}

// TestTaken: which flows the path takes, and what it counts of the others.
func TestTaken(t *testing.T) {
	only := func(answers ...slot.Enrolled) [2][]slot.Enrolled {
		return [2][]slot.Enrolled{answers, answers}
	}
	for _, c := range []struct {
		name   string
		fake   fake
		fallen string // "": it takes the flow
	}{
		{"both here", fake{}, ""},
		{"one of them cannot be", fake{answers: [2][]slot.Enrolled{{slot.Blocking}, nil}}, ""},
		{"nor the other", fake{answers: [2][]slot.Enrolled{nil, {slot.ULP}}}, ""},
		{"not accepted yet", fake{answers: only(slot.Unaccepted)}, ""},
		{"nobody here", fake{remote: true}, "remote"},
		{"both block", fake{answers: only(slot.Blocking)}, "blocking"},
		{"both have TLS", fake{answers: only(slot.ULP)}, "ulp"},
		{"both copy nothing", fake{answers: only(slot.ZeroCopy)}, "zerocopy"},
		{"both have ended", fake{answers: only(slot.Closing)}, "not_established"},
		{"both disagree", fake{answers: only(slot.Disagrees)}, "sequence"},
		{"both are gone", fake{answers: only(slot.Absent)}, "remote"},
		{"own sockets are not there", fake{answers: only(slot.NoOwn)}, "refused"},
		{"own sockets are refused", fake{refuse: unix.EOPNOTSUPP}, "not_established"},
		{"no memory", fake{err: unix.ENOMEM}, "no_memory"},
		{"in another map", fake{err: unix.EBUSY}, "busy"},
		{"the map is full", fake{err: unix.E2BIG}, "full"},
		{"who knows why", fake{err: unix.EPERM}, "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t, &c.fake)
			s.carry()
			if taken := s.flow.Path == PathName; taken != (c.fallen == "") || s.passed > 0 == taken {
				t.Errorf("path %q, passed on %d times", s.flow.Path, s.passed)
			}
			for why, n := range s.engine.Fallen() {
				if want := uint64(0); n != want && why != c.fallen || n == 0 && why == c.fallen {
					t.Errorf("%s: %d", why, n)
				}
			}
			s.over(flow.Closed, "")
			if idle := s.engine.Idle(); idle != 2 || s.ended != 1 {
				t.Errorf("%d pairs are free, ended %d times", idle, s.ended)
			}
			for i := range s.ways {
				if s.ways[i].Target.Load() != 0 {
					t.Errorf("way %d has a target", i)
				}
			}
		})
	}
}

func TestOffAndFull(t *testing.T) {
	s := newStage(t, &fake{})
	for range 3 {
		s.carry()
	}
	s.engine.SwitchOff("a test")
	s.carry()
	if got := s.engine.Fallen(); got["full"] != 1 || got["off"] != 1 || s.passed != 2 || s.engine.Off() != "a test" {
		t.Errorf("%v, %q", got, s.engine.Off())
	}
}

// TestHold: the flows of a route that is held have no target, and get it back.
func TestHold(t *testing.T) {
	s := newStage(t, &fake{answers: [2][]slot.Enrolled{nil, {slot.Blocking, slot.Blocking}}})
	want := func(what string, pairs ...bool) {
		t.Helper()
		for i, on := range pairs {
			if got := s.ways[2*i].Target.Load() != 0; got != on {
				t.Errorf("%s: flow %d has a target: %t", what, i, got)
			}
			if s.ways[2*i+1].Target.Load() != 0 {
				t.Errorf("%s: a way without a sender has a target", what)
			}
		}
	}
	s.flow.Route = &route.Route{Name: "b"}
	s.carry()
	overB := s.over
	want("one flow", true, false)
	s.engine.Hold("a", true)
	want("another route", true, false)
	s.engine.Hold("b", true)
	want("its route", false, false)
	s.flow.Route = &route.Route{Name: "a"}
	s.held = true
	s.carry()
	want("one that begins", false, false)
	s.engine.Hold("b", false)
	want("let go", true, false)
	overB(flow.Closed, "")
	s.engine.Hold("b", true)
	s.engine.Hold("b", false)
	want("ended", false, false)
	s.engine.Hold("a", false)
	want("let go too", false, true)
}

// TestCounts: what is relayed is told to the program, and what is redirected to the
// flow's counters, and neither is taken for the other.
func TestCounts(t *testing.T) {
	s := newStage(t, &fake{})
	s.flow.Sent.Store(300) // before it was carried
	s.carry()
	want := func(relayed, sent, received uint64) {
		t.Helper()
		s.c.Tally()
		s.quiet()
		if r, o, i := s.ways[0].Relayed.Load(), s.flow.Sent.Load(), s.flow.Received.Load(); r != relayed || o != sent || i != received {
			t.Errorf("relayed %d, sent %d, received %d; want %d, %d, %d", r, o, i, relayed, sent, received)
		}
	}
	want(0, 300, 0)
	s.flow.Sent.Add(50)
	want(50, 350, 0)
	s.ways[0].Redirected.Store(1000)
	s.ways[1].Redirected.Store(7)
	want(50, 1350, 7)
	s.ways[0].Redirected.Store(900) // the kernel had no memory for a hundred
	want(50, 1350, 7)
	s.ways[0].Redirected.Store(1200)
	s.flow.Sent.Add(1)
	want(51, 1551, 7)
	s.ways[1].Redirected.Store(10)
	s.over(flow.Closed, "")
	if n := s.flow.Received.Load(); n != 10 {
		t.Errorf("received %d in the end, want 10", n)
	}
}

// TestUnread: an end waits for a receiver that something was put into the queue of, as
// long as it is there.
func TestUnread(t *testing.T) {
	s := newStage(t, &fake{waiting: map[uint64]bool{}})
	s.engine.Deliver(5000)
	s.carry()
	for i := range s.fds {
		if n := s.ways[i].Credit.Load(); n != 5000 {
			t.Errorf("way %d has a credit of %d", i, n)
		}
	}
	near, err := unix.GetsockoptUint64(s.fds[1].Sys, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		t.Fatal(err)
	}
	s.waiting[near] = true // for what comes from the server
	if s.unread(0) || s.unread(1) {
		t.Error("nothing was put there yet")
	}
	s.ways[0].Delivered.Store(10)
	s.ways[1].Delivered.Store(20)
	if s.unread(0) || !s.unread(1) {
		t.Errorf("unread: %t, %t; want the second", s.unread(0), s.unread(1))
	}
	s.fake.err = unix.EPERM
	if s.unread(1) {
		t.Error("it waits for an answer")
	}
	s.over(flow.Closed, "")
	if s.flow.Sent.Load() != 10 || s.flow.Received.Load() != 20 {
		t.Errorf("sent %d, received %d", s.flow.Sent.Load(), s.flow.Received.Load())
	}
	if w := &s.ways[0]; w.Credit.Load() != 0 || w.Delivered.Load() != 0 {
		t.Error("a way that is free has a credit")
	}
}

// TestLate: a server that has not accepted is enrolled when it has, at a moment when
// nothing of its way is held.
func TestLate(t *testing.T) {
	s := newStage(t, &fake{answers: [2][]slot.Enrolled{{slot.Blocking}, {slot.Unaccepted, slot.Unaccepted}}})
	s.carry()
	steps := []struct {
		holds    bool
		enrolled int
	}{{false, 3}, {true, 3}, {false, 4}, {false, 4}}
	for i, step := range steps {
		s.flow.Received.Add(10)
		s.holds = step.holds
		s.quiet()
		if s.enrolled != step.enrolled {
			t.Errorf("step %d: asked %d times, want %d", i, s.enrolled, step.enrolled)
		}
	}
	if n := s.ways[1].Relayed.Load(); n != 10 {
		t.Errorf("relayed %d since, want 10", n)
	}
	if s.left > 0 || s.flow.Path != PathName {
		t.Errorf("left %d times, path %q", s.left, s.flow.Path)
	}
}

// TestLateForNothing: without any sender after all, the flow goes on elsewhere, at a
// moment when that can be.
func TestLateForNothing(t *testing.T) {
	s := newStage(t, &fake{stays: true, answers: [2][]slot.Enrolled{{slot.ULP}, {slot.Unaccepted, slot.Blocking}}})
	s.carry()
	s.quiet()
	s.quiet()
	if s.left != 2 || s.passed != 0 {
		t.Errorf("asked to leave %d times, passed on %d times", s.left, s.passed)
	}
	s.stays = false
	s.quiet()
	if s.passed != 1 || s.flow.Path != "splice" || s.engine.Idle() != 2 || s.engine.Fallen()["blocking"] != 1 {
		t.Errorf("passed on %d times, path %q, %d idle, %v", s.passed, s.flow.Path, s.engine.Idle(), s.engine.Fallen())
	}
	s.over(flow.Closed, "")
	if s.ended != 1 || s.engine.Idle() != 2 {
		t.Errorf("ended %d times, %d pairs are free", s.ended, s.engine.Idle())
	}
}

func TestActive(t *testing.T) {
	s := newStage(t, &fake{})
	s.carry()
	now := s.path.loop.Now()
	if got := s.c.Active(); got != 0 {
		t.Errorf("active at %v before anything moved", got)
	}
	s.ways[1].MovedAt.Store(uint64(clock() - time.Millisecond))
	if got := s.c.Active(); got <= 0 && now > time.Second || got > s.path.loop.Now() {
		t.Errorf("active at %v, and now it is %v", got, s.path.loop.Now())
	}
}
