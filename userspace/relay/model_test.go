package relay

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
)

// TestRandomFlows plays random flows step by step and compares what the peers
// see with a model of one direct connection between them.
func TestRandomFlows(t *testing.T) {
	const seed = 20240229
	t.Logf("seed %d", seed)
	r := newRig(t, 2, 0)
	for i := range 250 {
		if i == 125 {
			r.spliceOnly()
		}
		m := &model{rand: rand.New(rand.NewPCG(seed, uint64(i))), f: r.carry()}
		if err := m.play(t); err != nil {
			t.Fatalf("flow %d: %v, after\n%s", i, err, strings.Join(m.log, "\n"))
		}
	}
}

// model is what must be true of a flow. Side 0 is the client.
type model struct {
	rand  *rand.Rand
	f     *testFlow
	sides [2]side
	log   []string
}

// side is one peer, and the direction that begins at it.
type side struct {
	conn        *net.TCPConn
	out, in     source // in is the other side's out
	sent        int
	read        int // of what the other side has sent
	ended       bool
	otherIsSeen bool // the end of the other side has been read
}

// A direction may have so much unread, in so few pieces, that all of it fits in
// the receiver's buffer, where each piece has its overhead, and no write blocks.
const inFlight, pieces = 30_000, 16

func (m *model) play(t *testing.T) error {
	m.sides[0] = side{conn: m.f.client, out: newSource(1), in: newSource(2)}
	m.sides[1] = side{conn: m.f.server, out: newSource(2), in: newSource(1)}
	for {
		i := m.rand.IntN(2)
		var err error
		switch op := m.rand.IntN(40); {
		case op < 18:
			err = m.write(i)
		case op < 36:
			err = m.read(i)
		case op < 39:
			m.end(i)
		default:
			return m.reset(t, i)
		}
		if err != nil {
			return err
		}
		if m.sides[0].ended && m.sides[1].ended {
			return m.finish()
		}
	}
}

func (m *model) note(i int, format string, args ...any) {
	m.log = append(m.log, fmt.Sprintf("  side %d ", i)+fmt.Sprintf(format, args...))
}

func (m *model) unread(i int) int { return m.sides[1-i].sent - m.sides[i].read }

func (m *model) write(i int) error {
	s := &m.sides[i]
	room := inFlight - m.unread(1-i)
	if s.ended || room == 0 {
		return nil
	}
	n := 1 + m.rand.IntN(room)
	m.note(i, "writes %d", n)
	s.sent += n
	return transmit(s.conn, s.out, n, 1+n/pieces+m.rand.IntN(n))
}

func (m *model) read(i int) error {
	s, unread := &m.sides[i], m.unread(i)
	if unread == 0 {
		if !m.sides[1-i].ended || s.otherIsSeen {
			return nil
		}
		m.note(i, "reads the end")
		s.otherIsSeen = true
		return expectEnd(s.conn, s.in, 0)
	}
	n := 1 + m.rand.IntN(unread)
	m.note(i, "reads %d", n)
	s.read += n
	return expect(s.conn, s.in, n)
}

func (m *model) end(i int) {
	if s := &m.sides[i]; !s.ended {
		m.note(i, "ends")
		s.ended = true
		s.conn.CloseWrite()
	}
}

// reset breaks the flow from side i: the other one must see all that was sent
// before, and then a reset, unless it has been sent an end, which comes first.
func (m *model) reset(t *testing.T, i int) error {
	// What the relay has not sent yet, for want of acknowledgements, a reset drops.
	eventually(t, "all to arrive", func() bool { return m.arrived(i) })
	m.note(i, "resets")
	reset(t, m.sides[i].conn)
	other := &m.sides[1-i]
	m.note(1-i, "reads %d and a reset, or the end %t", m.unread(1-i), m.sides[i].ended)
	if err := expect(other.conn, other.in, m.unread(1-i)); err != nil {
		return err
	}
	_, err := other.conn.Read(make([]byte, 1))
	if !errors.Is(err, unix.ECONNRESET) && !(m.sides[i].ended && err == io.EOF) {
		return fmt.Errorf("read returns %w, want a reset", err)
	}
	if got, want := m.f.wait().end, [2]flow.End{flow.DownstreamReset, flow.UpstreamReset}[i]; got != want {
		return fmt.Errorf("the flow ends as %v, want %v", got, want)
	}
	return m.counters(i)
}

// arrived tells whether all that side i has sent is in the other one's kernel.
func (m *model) arrived(i int) (yes bool) {
	m.f.r.do(func() {
		left, err := unix.IoctlGetInt(m.f.c.legs[1-i].fd.Sys, unix.TIOCOUTQ)
		yes = err == nil && left == 0 && m.f.c.ways[i].moved.Load() == uint64(m.sides[i].sent)
	})
	return yes
}

// counters checks what the flow has counted when side i broke it: all from there,
// and of the other direction at least what was read.
func (m *model) counters(i int) error {
	counts := [2]uint64{m.f.flow.Sent.Load(), m.f.flow.Received.Load()}
	from, to := &m.sides[i], &m.sides[1-i]
	if counts[i] != uint64(from.sent) || counts[1-i] < uint64(from.read) || counts[1-i] > uint64(to.sent) {
		return fmt.Errorf("counted %d; side %d sent %d and read %d of %d", counts, i, from.sent, from.read, to.sent)
	}
	return nil
}

// finish reads what is left of a flow that both sides have ended.
func (m *model) finish() error {
	for i := range m.sides {
		s := &m.sides[i]
		if s.otherIsSeen {
			continue
		}
		m.note(i, "reads %d and the end", m.unread(i))
		if err := expectEnd(s.conn, s.in, m.unread(i)); err != nil {
			return err
		}
	}
	if got := m.f.wait(); got.end != flow.Closed {
		return fmt.Errorf("the flow ends as %v %q", got.end, got.detail)
	}
	m.f.wantBytes(m.sides[0].sent, m.sides[1].sent)
	return nil
}
