package tests

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"time"

	"sluice/tests/harness"
)

// shape is how both ends of a flow behave. Its number decides all of it, and the
// bytes too, so that none of another flow's pass for its own.
type shape struct {
	number    uint64
	rounds    int   // in turns: the client speaks, the server answers; 0: both speak at once
	out, back int64 // bytes in each round
	quitter   uint64
	moody     bool // both ends write and read in random pieces, with rests
}

// newShape makes half of all flows short dialogues and a fifth of these end by a
// reset, in the last round and by the end whose seed is that of the quitter.
func newShape(number uint64) shape {
	r := rand.New(rand.NewPCG(number, 0))
	s := shape{number: number, moody: r.IntN(2) == 0}
	if r.IntN(2) == 0 {
		s.out, s.back = anySize(r, 8<<20)-1, anySize(r, 8<<20)-1
		return s
	}
	s.rounds = 2 + r.IntN(50) // so that nobody quits before both have heard of the flow
	s.out, s.back = anySize(r, 64<<10), anySize(r, 64<<10)
	if r.IntN(5) == 0 {
		s.quitter = 1 + r.Uint64N(2)
	}
	return s
}

// anySize is from 1 to most, each magnitude as likely as the next.
func anySize(r *rand.Rand, most int) int64 {
	return int64(math.Exp(r.Float64() * math.Log(float64(most))))
}

// play is one end's part.
func (s shape) play(e end) error {
	stream := net.Conn(e)
	if s.moody {
		stream = &moody{Conn: e, in: rand.New(rand.NewPCG(s.number, e.seed)), out: rand.New(rand.NewPCG(s.number, e.seed+2))}
	}
	if s.rounds > 0 {
		return s.dialogue(e, stream)
	}
	sent := make(chan error, 1)
	go func() { sent <- errors.Join(s.send(stream, e.seed, 0), e.CloseWrite()) }()
	return errors.Join(s.receive(stream, 3-e.seed, 0), harness.End(e), <-sent)
}

func (s shape) dialogue(e end, stream net.Conn) error {
	for round := range s.rounds {
		if e.seed == 2 {
			if err := s.receive(stream, 1, round); err != nil {
				return s.mayQuit(e, err)
			}
		}
		if err := s.send(stream, e.seed, round); err != nil {
			return s.mayQuit(e, err)
		}
		if s.quitter == e.seed && round == s.rounds-1 {
			return errors.Join(e.SetLinger(0), e.Close())
		}
		if e.seed == 1 {
			if err := s.receive(stream, 2, round); err != nil {
				return s.mayQuit(e, err)
			}
		}
	}
	if s.quitter != 0 {
		return harness.Reset(e)
	}
	return errors.Join(e.CloseWrite(), harness.End(e))
}

// mayQuit allows the error that the other end's reset makes.
func (s shape) mayQuit(e end, err error) error {
	if harness.IsCut(err) && s.quitter == 3-e.seed {
		return nil
	}
	return err
}

// bytes is how many the end of that seed sends in a round.
func (s shape) bytes(seed uint64) int64 {
	if seed == 1 {
		return s.out
	}
	return s.back
}

// total is how many bytes it sends in all if nobody quits.
func (s shape) total(seed uint64) int64 { return s.bytes(seed) * int64(max(1, s.rounds)) }

func (s shape) send(c net.Conn, seed uint64, round int) error {
	if err := harness.Send(c, s.stream(seed, round), s.bytes(seed), 64<<10); err != nil {
		return fmt.Errorf("round %d of end %d: %w", round, seed, err)
	}
	return nil
}

func (s shape) receive(c net.Conn, seed uint64, round int) error {
	if err := harness.Receive(c, s.stream(seed, round), s.bytes(seed)); err != nil {
		return fmt.Errorf("round %d of end %d: %w", round, seed, err)
	}
	return nil
}

// stream is the seed of the bytes that an end sends in a round.
func (s shape) stream(seed uint64, round int) uint64 { return s.number + uint64(round)<<2 + seed }

// moody writes and reads in pieces of any size, and rests now and then.
type moody struct {
	net.Conn
	in, out *rand.Rand
}

func rest(r *rand.Rand) {
	if r.IntN(100) == 0 {
		time.Sleep(time.Duration(r.IntN(10)) * time.Millisecond)
	}
}

func (m *moody) Write(b []byte) (int, error) {
	for written := 0; ; {
		rest(m.out)
		n, err := m.Conn.Write(b[written:min(len(b), written+int(anySize(m.out, 64<<10)))])
		written += n
		if err != nil || written == len(b) {
			return written, err
		}
	}
}

func (m *moody) Read(b []byte) (int, error) {
	rest(m.in)
	return m.Conn.Read(b[:min(len(b), int(anySize(m.in, 64<<10)))])
}
