package sockmap

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
	"sluice/userspace/poll"
	"sluice/userspace/rehearsal"
	"sluice/userspace/slot"
)

// recorder is a fallback that takes flows and ends them.
type recorder struct {
	loop  *poll.Loop
	flows int
}

func (*recorder) Name() string { return "recorder" }

func (r *recorder) Carry(_ *flow.Flow, down, up poll.FD, _ func(flow.End, string)) flow.Carriage {
	r.flows++
	r.loop.Close(down)
	r.loop.Close(up)
	return nothing{}
}

// onLoop calls f with a path on a loop that runs.
func onLoop(t *testing.T, e *Engine, f func(*poll.Loop, *Path, *recorder)) {
	t.Helper()
	loop, err := poll.New()
	if err != nil {
		t.Fatal(err)
	}
	fallback := &recorder{loop: loop}
	p, err := e.Path(loop, 0, fallback)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- loop.Run() }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := loop.Do(ctx, func() { f(loop, p, fallback); p.Close(); loop.Stop() }); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestRefused has each step of a handover fail: the fallback gets the flow, and
// nothing is left.
func TestRefused(t *testing.T) {
	before := descriptors(t)
	k := newFake(1, 2)
	e := newEngine(t, k)
	listen, err := rehearsal.Listen()
	if err != nil {
		t.Fatal(err)
	}
	onLoop(t, e, func(loop *poll.Loop, p *Path, fallback *recorder) {
		carry := func(prepare func(peers, own [2]int)) {
			var f flow.Flow
			var own, peers [2]int
			var legs [2]poll.FD
			for i := range own {
				var err error
				if peers[i], own[i], err = rehearsal.Connection(listen); err != nil {
					t.Fatal(err)
				}
				if legs[i], err = loop.Add(own[i], poll.Stream, ignore{}); err != nil {
					t.Fatal(err)
				}
			}
			prepare(peers, own)
			p.Carry(&f, legs[0], legs[1], nil)
			if f.Path != "recorder" {
				t.Errorf("the flow is on path %q", f.Path)
			}
			unix.Close(peers[0])
			unix.Close(peers[1])
		}
		nothing := func(_, _ [2]int) {}
		k.fail = unix.EBUSY
		carry(nothing)
		k.fail = unix.EOPNOTSUPP
		carry(nothing)
		k.fail = nil
		carry(func(peers, own [2]int) {
			if err := unix.Shutdown(peers[0], unix.SHUT_WR); err != nil {
				t.Error(err)
			}
			// Until the end is there, the read would block.
			if _, err := unix.Poll([]unix.PollFd{{Fd: int32(own[0]), Events: unix.POLLIN}}, 60_000); err != nil {
				t.Error(err)
			}
		})
		pair, _ := e.take()
		carry(nothing)
		e.give(pair)
		if fallback.flows != 4 || len(p.flows) != 0 {
			t.Errorf("%d flows fell back, %d are on the path", fallback.flows, len(p.flows))
		}
	})
	for name, n := range e.Fallen() {
		want := uint64(0)
		switch name {
		case "busy", "full":
			want = 1
		case "not_established":
			want = 2
		}
		if n != want {
			t.Errorf("%d fell back because of %s, want %d", n, name, want)
		}
	}
	if len(k.bound) != 0 || e.Idle() != 1 {
		t.Errorf("%d cookies are bound, %d pairs are idle", len(k.bound), e.Idle())
	}
	unix.Close(listen)
	if got := descriptors(t); got != before {
		t.Errorf("%d descriptors, %d before", got, before)
	}
}

// TestEventsBroken switches the path off when it is deaf.
func TestEventsBroken(t *testing.T) {
	e := newEngine(t, newFake(1, 1))
	onLoop(t, e, func(_ *poll.Loop, p *Path, _ *recorder) {
		p.events.(*fakeEvents).err = errFake
		p.Ready(poll.In)
	})
	if want := "the kernel's events cannot be read: fake"; e.Off() != want {
		t.Errorf("off because of %q, want %q", e.Off(), want)
	}
	k := newFake(1, 1)
	e = newEngine(t, k)
	k.fail = errFake
	if _, err := e.Path(nil, 0, nil); !errors.Is(err, errFake) {
		t.Errorf("Path: %v", err)
	}
}

// TestAdmit refuses what Carry would, as far as can be known.
func TestAdmit(t *testing.T) {
	e := newEngine(t, newFake(1, 1))
	onLoop(t, e, func(_ *poll.Loop, p *Path, _ *recorder) {
		want := func(want string) {
			t.Helper()
			got := ""
			if err := p.Admit(new(flow.Flow)); err != nil {
				got = err.Error()
			}
			if got != want {
				t.Errorf("Admit: %q, want %q", got, want)
			}
		}
		want("")
		e.SwitchOff("why not")
		want("sockmap: off")
		e.SwitchOn()
		pair, _ := e.take()
		want("sockmap: full")
		e.give(pair)
		if err := e.SetPolicy("", slot.Policy{Rule: slot.Off}); err != nil {
			t.Error(err)
		}
		want("sockmap: policy")
	})
}

// TestPosition follows the length of a stream, whichever side began it.
func TestPosition(t *testing.T) {
	listen, err := rehearsal.Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(listen)
	peer, own, err := rehearsal.Connection(listen)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(peer)
	defer unix.Close(own)
	for _, fd := range []int{peer, own} {
		start, exact, err := position(fd)
		if err != nil || !exact {
			t.Fatal(err)
		}
		sent := uint64(0)
		for _, n := range []int{1, 1000, 50_000} {
			if err := rehearsal.Send(fd, make([]byte, n)); err != nil {
				t.Fatal(err)
			}
			sent += uint64(n)
			for begin := time.Now(); ; {
				now, _, err := position(fd)
				if err != nil || now-start > sent {
					t.Fatalf("%d bytes were sent, and the position is %d further, %v", sent, now-start, err)
				}
				if now-start == sent {
					break
				}
				if time.Since(begin) > time.Minute {
					t.Fatalf("%d bytes were sent, and the position is only %d further", sent, now-start)
				}
			}
		}
	}
}

// descriptors is how many this process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestPositionIsExact asks all the time while acknowledgements come in: what is said
// to be exact must be, since a flow begins with it.
func TestPositionIsExact(t *testing.T) {
	listen, err := rehearsal.Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(listen)
	peer, own, err := rehearsal.Connection(listen)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(own)
	read := make(chan struct{})
	go func() {
		defer close(read)
		b := make([]byte, 64<<10)
		for {
			if n, err := unix.Read(peer, b); n <= 0 && err != unix.EINTR {
				return
			}
		}
	}()
	start, _, err := position(own)
	if err != nil {
		t.Fatal(err)
	}
	sent, inexact := uint64(0), 0
	for range 50_000 {
		if n, err := send(own, make([]byte, 3000)); err == nil {
			sent += uint64(n)
		}
		now, exact, err := position(own)
		if err != nil {
			t.Fatal(err)
		}
		if exact && now-start != sent || now-start > sent {
			t.Fatalf("%d bytes were sent, and the position is %d further, exactly: %t", sent, now-start, exact)
		}
		if !exact {
			inexact++
		}
	}
	t.Logf("%d bytes, %d times not exact", sent, inexact)
	_ = unix.Shutdown(own, unix.SHUT_WR)
	<-read
	unix.Close(peer)
}

type ignore struct{}

func (ignore) Ready(poll.Events) {}
