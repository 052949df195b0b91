package tests

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"sluice/tests/harness"
)

// directions runs a test from each end of the flow: the near end acts, the far
// end sees.
func directions(t *testing.T, layouts []layout, test func(t *testing.T, s *site, near, far end)) {
	for _, c := range []struct {
		name string
		ends func(flow) (end, end)
	}{
		{"client first", func(f flow) (end, end) { return end{f.client, 1}, end{f.server, 2} }},
		{"server first", func(f flow) (end, end) { return end{f.server, 2}, end{f.client, 1} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachPath(t, layouts, func(t *testing.T, s *site) {
				near, far := c.ends(s.open(t))
				test(t, s, near, far)
			})
		})
	}
}

// payload is how many bytes went from client to server and back, given those
// from the near end to the far one and back.
func (e end) payload(out, back int64) (sent, received int64) {
	if e.seed == 1 {
		return out, back
	}
	return back, out
}

// TestHalfClose ends one direction and expects the other to go on for as long as
// it likes, whole.
func TestHalfClose(t *testing.T) {
	for _, n := range []int64{0, 1, 8 << 20} {
		t.Run(fmt.Sprintf("%d bytes before", n), func(t *testing.T) {
			directions(t, everywhere, func(t *testing.T, s *site, near, far end) {
				harness.All(t,
					func() error { return near.sendAll(n, 64<<10) },
					func() error { return receiveAll(far, near.seed, n) })
				harness.Must(t, harness.Quiet(near, quietTime))
				const back = 8 << 20
				harness.All(t,
					func() error { return far.sendAll(back, 64<<10) },
					func() error { return receiveAll(near, far.seed, back) })
				sent, received := near.payload(n, back)
				s.wantRecords(t, "closed", sent, received)
			})
		})
	}
}

// TestSlowReaderOfTheEnd has the end of a stream come while its reader is far
// behind: it must not overtake the bytes.
func TestSlowReaderOfTheEnd(t *testing.T) {
	directions(t, everywhere, func(t *testing.T, s *site, near, far end) {
		const n = 4 << 20
		all := make(chan error, 1)
		go func() { all <- near.sendAll(n, 64<<10) }()
		harness.Must(t, harness.Quiet(near, quietTime))
		harness.Must(t, receiveAll(far, near.seed, n))
		harness.Must(t, <-all)
		harness.Must(t, far.CloseWrite())
		harness.Must(t, harness.End(near))
		sent, received := near.payload(n, 0)
		s.wantRecords(t, "closed", sent, received)
	})
}

func TestHelloAndEndTogether(t *testing.T) {
	eachPath(t, []layout{oneHop, twoHops}, func(t *testing.T, s *site) {
		s.anyPath = true // a client that has ended already is not for every path
		f := flow{client: s.dial(t)}
		_, err := f.client.Write(s.hello)
		harness.Must(t, err)
		harness.Must(t, f.client.CloseWrite())
		f.server = accept(t, s.server)
		harness.Must(t, s.readHello(f.server))
		harness.Must(t, harness.End(f.server))
		const n = 1 << 20
		harness.All(t,
			func() error { return end{f.server, 2}.sendAll(n, 64<<10) },
			func() error { return receiveAll(f.client, 2, n) })
		s.wantRecords(t, "closed", 0, n)
	})
}

func TestResetWhileIdle(t *testing.T) {
	directions(t, everywhere, func(t *testing.T, s *site, near, far end) {
		harness.Abort(t, near.TCPConn)
		harness.Must(t, harness.Reset(far))
		s.wantRecords(t, near.resetReason(), 0, 0)
	})
}

// TestResetInTransfer resets while both directions are full of bytes.
func TestResetInTransfer(t *testing.T) {
	directions(t, everywhere, func(t *testing.T, s *site, near, far end) {
		nearFull, farFull := make(chan error, 1), make(chan error, 1)
		go func() { nearFull <- harness.Send(near, near.seed, harness.Endless, 64<<10) }()
		go func() { farFull <- harness.Send(far, far.seed, harness.Endless, 64<<10) }()
		const least = 4 << 20
		harness.Must(t, harness.Receive(far, near.seed, least))
		harness.Must(t, harness.Receive(near, far.seed, least))
		harness.Abort(t, near.TCPConn)
		// A socket tells of its reset once, to whoever asks first: its reader or
		// its writer.
		read := harness.Reset(far)
		if write := <-farFull; !errors.Is(write, syscall.ECONNRESET) && read != nil {
			t.Errorf("reader: %v; writer: %v", read, write)
		}
		if err := <-nearFull; err == nil {
			t.Error("a reset flow took all it was given")
		}
		s.wantReset(t, near)
		for i, g := range s.gateways {
			if r := g.Records(1)[0]; r.Sent < least || r.Received < least {
				t.Errorf("gateway %d logged %d bytes sent and %d received, want no less than %d each", i, r.Sent, r.Received, least)
			}
		}
	})
}

// TestResetAfterHalfClose resets an upload whose sender had ended its own side.
func TestResetAfterHalfClose(t *testing.T) {
	directions(t, []layout{oneHop, twoHops}, func(t *testing.T, s *site, near, far end) {
		harness.Must(t, near.CloseWrite())
		harness.Must(t, harness.End(far))
		harness.Abort(t, far.TCPConn)
		harness.Must(t, harness.Reset(near))
		s.wantRecords(t, far.resetReason(), 0, 0)
	})
}

// TestAnswerBeforeReset is a server that refuses an upload: it answers, and
// closes with the upload unread, which resets it. The client must get the answer.
func TestAnswerBeforeReset(t *testing.T) {
	eachPath(t, []layout{oneHop, twoHops}, func(t *testing.T, s *site) {
		f := s.open(t)
		harness.Must(t, harness.Send(f.client, 1, 64<<10, 64<<10))
		harness.Must(t, harness.Receive(f.server, 1, 1))
		const answer = 512
		harness.Must(t, harness.Send(f.server, 2, answer, answer))
		harness.Must(t, harness.Receive(f.client, 2, answer))
		harness.Abort(t, f.server)
		harness.Must(t, harness.Reset(f.client))
		s.wantReset(t, end{f.server, 2})
		for i, g := range s.gateways {
			if r := g.Records(1)[0]; r.Received != answer {
				t.Errorf("gateway %d logged %d bytes received, want %d", i, r.Received, answer)
			}
		}
	})
}
