package tests

import (
	"errors"
	"fmt"
	"io"
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
					func() error { return near.sendAll(n) },
					func() error { return receiveAll(far, near.seed, n) })
				harness.Must(t, harness.Quiet(near, quietTime))
				const back = 8 << 20
				harness.All(t,
					func() error { return far.sendAll(back) },
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
		sent := make(chan error, 1)
		go func() { sent <- near.sendAll(n) }()
		harness.Must(t, harness.Quiet(near, quietTime))
		harness.Must(t, receiveAll(far, near.seed, n))
		harness.Must(t, <-sent)
		harness.Must(t, far.CloseWrite())
		harness.Must(t, harness.End(near))
	})
}

func TestHelloAndEndTogether(t *testing.T) {
	eachPath(t, []layout{oneHop, twoHops}, func(t *testing.T, s *site) {
		f := flow{client: s.dial(t)}
		_, err := f.client.Write(s.hello)
		harness.Must(t, err)
		harness.Must(t, f.client.CloseWrite())
		f.server = accept(t, s.server)
		harness.Must(t, s.readHello(f.server))
		harness.Must(t, harness.End(f.server))
		const n = 1 << 20
		harness.All(t,
			func() error { return end{f.server, 2}.sendAll(n) },
			func() error { return receiveAll(f.client, 2, n) })
		s.wantRecords(t, "closed", 0, n)
	})
}

func TestResetWhileIdle(t *testing.T) {
	directions(t, everywhere, func(t *testing.T, s *site, near, far end) {
		harness.Abort(t, near.TCPConn)
		harness.Must(t, harness.Reset(far))
		s.wantReset(t, near)
	})
}

// TestResetInTransfer resets while both directions are full of bytes.
func TestResetInTransfer(t *testing.T) {
	directions(t, everywhere, func(t *testing.T, s *site, near, far end) {
		const much = 1 << 40
		nearFull, farFull := make(chan error, 1), make(chan error, 1)
		go func() { nearFull <- harness.Send(near, near.seed, much, 64<<10) }()
		go func() { farFull <- harness.Send(far, far.seed, much, 64<<10) }()
		harness.Must(t, harness.Receive(far, near.seed, 4<<20))
		harness.Must(t, harness.Receive(near, far.seed, 4<<20))
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
	})
}

// TestResetAfterHalfClose resets an upload whose sender had ended its own side.
func TestResetAfterHalfClose(t *testing.T) {
	directions(t, []layout{oneHop, twoHops}, func(t *testing.T, s *site, near, far end) {
		harness.Must(t, near.CloseWrite())
		harness.Must(t, harness.End(far))
		harness.Abort(t, far.TCPConn)
		harness.Must(t, harness.Reset(near))
		s.wantReset(t, far)
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
	})
}

// wantReset expects the log to blame the end that reset.
func (s *site) wantReset(t *testing.T, by end) {
	t.Helper()
	want := "downstream_reset"
	if by.seed == 2 {
		want = "upstream_reset"
	}
	for _, g := range s.gateways {
		wantEnd(t, g.Records(1)[0], want)
	}
}

// TestProcessGone kills the process at either end: the kernel ends its
// connections, and the other end must see it.
func TestProcessGone(t *testing.T) {
	t.Run("client", func(t *testing.T) {
		eachPath(t, []layout{oneHop}, func(t *testing.T, s *site) {
			cmd := role("hold", s.gateways[0].Addr, serverName, "1")
			harness.Must(t, s.NS("client").Start(cmd))
			c := accept(t, s.server)
			_, err := io.CopyN(io.Discard, c, int64(len(s.hello)))
			harness.Must(t, err)
			harness.Must(t, killed(cmd))
			harness.Must(t, harness.End(c))
			c.Close()
		})
	})
	t.Run("server", func(t *testing.T) {
		eachPath(t, []layout{oneHop}, func(t *testing.T, s *site) {
			cmd := s.startServer(t, serverPort+1)
			g := s.gateways[0]
			g.SetRoutes(harness.Routes{serverName: {s.addr(s.NS("server"), serverPort+1)}})
			harness.Eventually(t, "the table with the other server", func() bool {
				return g.Metric("sluice_table_version") > 1
			})
			c := s.dial(t)
			_, err := c.Write(s.hello)
			harness.Must(t, err)
			harness.Must(t, harness.ReceiveBytes(c, s.hello))
			harness.Must(t, killed(cmd))
			if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the server's death is seen as %v", err)
			}
			c.Close()
		})
	})
}
