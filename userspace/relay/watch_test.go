package relay

import (
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"sluice/userspace/flow"
	"sluice/userspace/poll"
)

// watched puts a flow on the path anew, accompanied.
func (f *testFlow) watched(t *testing.T, w flow.Watch) {
	t.Helper()
	f.r.do(func() {
		legs := [2]poll.FD{f.c.legs[0].fd, f.c.legs[1].fd}
		old := f.c
		if !old.Leave() {
			t.Error("a quiet flow may not leave")
			return
		}
		f.c = f.r.path.CarryWatched(&f.flow, legs[0], legs[1], old.over, w).(*carriage)
	})
}

// TestEndOfWhatIsUnread: an end waits while the receiver has something to read that did
// not come by the path, in its own direction alone.
func TestEndOfWhatIsUnread(t *testing.T) {
	for side := range 2 {
		t.Run([]string{"from the client", "from the server"}[side], func(t *testing.T) {
			f := newRig(t, 0, 0).carry()
			var unread [2]atomic.Bool
			unread[side].Store(true)
			f.watched(t, flow.Watch{Unread: func(way int) bool { return unread[way].Load() }})
			peers := [2]*net.TCPConn{f.client, f.server}
			if err := transmit(peers[side], newSource(1), 1000, 1000); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(peers[side].CloseWrite(), expect(peers[1-side], newSource(1), 1000)); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(peers[1-side].CloseWrite(), expectEnd(peers[side], newSource(0), 0)); err != nil {
				t.Fatal(err)
			}
			if err := peers[1-side].SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if n, err := peers[1-side].Read(make([]byte, 1)); err == nil || n > 0 || !isTimeout(err) {
				t.Fatalf("the end did not wait: %d, %v", n, err)
			}
			if err := peers[1-side].SetReadDeadline(time.Time{}); err != nil {
				t.Fatal(err)
			}
			unread[side].Store(false)
			if err := expectEnd(peers[1-side], newSource(0), 0); err != nil {
				t.Error(err)
			}
			f.wantEnd(result{flow.Closed, [2]string{"by upstream", "by downstream"}[1-side]}, 1000*(1-side), 1000*side)
		})
	}
}

// TestResetOfWhatIsUnread: a flow that waits to end can be reset.
func TestResetOfWhatIsUnread(t *testing.T) {
	f := newRig(t, 0, 0).carry()
	asked := make(chan struct{}, 1)
	f.watched(t, flow.Watch{Unread: func(int) bool {
		select {
		case asked <- struct{}{}:
		default:
		}
		return true
	}})
	if err := f.client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	<-asked
	reset(t, f.server)
	wantReset(t, f.client)
	f.wantEnd(result{flow.UpstreamReset, "connection reset by peer"}, 0, 0)
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
