package dns

import (
	"bytes"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func ask(name string, kind dnsmessage.Type) (dnsmessage.Question, []byte) {
	q := dnsmessage.Question{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: 1, RecursionDesired: true})
	try(b.StartQuestions())
	try(b.Question(q))
	msg, err := b.Finish()
	try(err)
	return q, msg
}

func TestNotes(t *testing.T) {
	addrs := ips("192.0.2.1", "2001:db8::1")
	lame := func(q dnsmessage.Question) []byte {
		msg := response(1, q, zone{})
		msg[3] &^= 0x80 // recursion available
		return msg
	}
	for _, tt := range []struct {
		name     string
		answer   func(q dnsmessage.Question) []byte
		answered bool
		ttl      time.Duration // negative: none
	}{
		{"address", func(q dnsmessage.Question) []byte { return response(1, q, zone{addrs: addrs, ttl: 7}) }, true, 7 * time.Second},
		{"TTL 0", func(q dnsmessage.Question) []byte { return response(1, q, zone{addrs: addrs}) }, true, 0},
		{"TTL out of range", func(q dnsmessage.Question) []byte { return response(1, q, zone{addrs: addrs, ttl: 1 << 31}) }, true, 0},
		{"short alias", func(q dnsmessage.Question) []byte {
			return response(1, q, zone{addrs: addrs, ttl: 7, alias: "b.test.", aliasTTL: 3})
		}, true, 3 * time.Second},
		{"long alias", func(q dnsmessage.Question) []byte {
			return response(1, q, zone{addrs: addrs, ttl: 7, alias: "b.test.", aliasTTL: 30})
		}, true, 7 * time.Second},
		{"no records", func(q dnsmessage.Question) []byte { return response(1, q, zone{}) }, true, -1},
		{"no such name", func(q dnsmessage.Question) []byte {
			return response(1, q, zone{rcode: dnsmessage.RCodeNameError})
		}, true, -1},
		{"server failure", func(q dnsmessage.Question) []byte {
			return response(1, q, zone{rcode: dnsmessage.RCodeServerFailure})
		}, false, -1},
		{"lame referral", lame, false, -1},
		{"truncated", func(q dnsmessage.Question) []byte { _, m := ask("a.test.", q.Type); return truncated(m) }, false, -1},
		{"other name", func(q dnsmessage.Question) []byte {
			other, _ := ask("c.test.", q.Type)
			return response(1, other, zone{addrs: addrs, ttl: 7})
		}, false, -1},
		{"upper case", func(q dnsmessage.Question) []byte {
			other, _ := ask("A.TEST.", q.Type)
			return response(1, other, zone{addrs: addrs, ttl: 7})
		}, true, 7 * time.Second},
		{"a query", func(q dnsmessage.Question) []byte { _, m := ask("a.test.", q.Type); return m }, false, -1},
		{"cut off", func(q dnsmessage.Question) []byte { return response(1, q, zone{addrs: addrs, ttl: 7})[:14] }, false, -1},
		{"nothing", func(dnsmessage.Question) []byte { return nil }, false, -1},
	} {
		for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA} {
			n := newNotes()
			q, msg := ask("a.test.", kind)
			n.query(msg)
			n.response(tt.answer(q))
			if got := n.unanswered(kind); got == tt.answered {
				t.Errorf("%s, %v: unanswered is %v", tt.name, kind, got)
			}
			ttl, ok := n.smallest()
			if ok != (tt.ttl >= 0) || ok && ttl != tt.ttl {
				t.Errorf("%s, %v: TTL is %v, %v, want %v", tt.name, kind, ttl, ok, tt.ttl)
			}
		}
	}
}

// TestRetriedQuestion has a question answered by the second server, and then sent
// once more.
func TestRetriedQuestion(t *testing.T) {
	n := newNotes()
	q, msg := ask("a.test.", dnsmessage.TypeA)
	n.query(msg)
	n.response(response(1, q, zone{rcode: dnsmessage.RCodeServerFailure}))
	n.query(msg)
	n.response(response(1, q, zone{addrs: ips("192.0.2.1"), ttl: 9}))
	n.query(msg)
	if n.unanswered(dnsmessage.TypeA) {
		t.Error("the answer was forgotten")
	}
}

// TestStream sends two messages in pieces of every size.
func TestStream(t *testing.T) {
	a, askA := ask("a.test.", dnsmessage.TypeA)
	b, askB := ask("b.test.", dnsmessage.TypeA)
	var in []byte
	for _, m := range [][]byte{
		response(1, a, zone{addrs: ips("192.0.2.1"), ttl: 9}),
		response(1, b, zone{addrs: ips("192.0.2.1"), ttl: 8}),
	} {
		in = append(append(in, 0, byte(len(m))), m...)
	}
	for piece := 1; piece <= len(in); piece++ {
		near, far := net.Pipe()
		go func() {
			defer far.Close()
			_, _ = io.Copy(far, bytes.NewReader(in))
		}()
		c := &stream{Conn: near, notes: newNotes(), attempt: time.Minute}
		c.query(askA)
		c.query(askB)
		var out []byte
		buf := make([]byte, piece)
		for {
			n, err := c.Read(buf)
			out = append(out, buf[:n]...)
			if err != nil {
				break
			}
		}
		near.Close()
		if !bytes.Equal(in, out) {
			t.Fatalf("in pieces of %d, the stream changed", piece)
		}
		if ttl, _ := c.smallest(); c.unanswered(dnsmessage.TypeA) || ttl != 8*time.Second {
			t.Fatalf("in pieces of %d, TTL is %v", piece, ttl)
		}
	}
}

func TestMerge(t *testing.T) {
	old := ips("192.0.2.1", "2001:db8::1")
	for _, tt := range []struct {
		name   string
		answer answer
		old    []string
		want   []string
	}{
		{"new", answer{addrs: ips("192.0.2.2")}, []string{"192.0.2.1", "2001:db8::1"}, []string{"192.0.2.2"}},
		{"failed", answer{err: io.EOF}, []string{"192.0.2.1", "2001:db8::1"}, []string{"192.0.2.1", "2001:db8::1"}},
		{"no v6", answer{addrs: ips("192.0.2.2"), lostV6: true}, []string{"192.0.2.1", "2001:db8::1"}, []string{"192.0.2.2", "2001:db8::1"}},
		{"no v4", answer{addrs: ips("2001:db8::2"), lostV4: true}, []string{"192.0.2.1", "2001:db8::1"}, []string{"192.0.2.1", "2001:db8::2"}},
		{"v6 of another search domain", answer{addrs: ips("192.0.2.2", "2001:db8::2"), lostV6: true}, []string{"192.0.2.1", "2001:db8::1"}, []string{"192.0.2.2", "2001:db8::1"}},
		{"none before", answer{addrs: ips("192.0.2.2"), lostV6: true}, nil, []string{"192.0.2.2"}},
		{"v4 only before", answer{addrs: ips("192.0.2.2"), lostV6: true}, []string{"192.0.2.1"}, []string{"192.0.2.2"}},
		{"nothing at all", answer{err: io.EOF}, nil, nil},
	} {
		if got := tt.answer.merge(ips(tt.old...)); !slices.Equal(got, ips(tt.want...)) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
	if !slices.Equal(old, ips("192.0.2.1", "2001:db8::1")) {
		t.Error("merge changed its argument")
	}
}

func TestUsable(t *testing.T) {
	got := usable(ips("2001:db8::1", "192.0.2.2", "::ffff:192.0.2.1", "192.0.2.2", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "::ffff:0.0.0.0"))
	if want := ips("192.0.2.1", "192.0.2.2", "2001:db8::1"); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func FuzzResponse(f *testing.F) {
	q, msg := ask("a.test.", dnsmessage.TypeA)
	f.Add(msg, response(1, q, zone{addrs: ips("192.0.2.1"), ttl: 9, alias: "b.test.", aliasTTL: 3}))
	f.Add(msg, truncated(msg))
	f.Fuzz(func(t *testing.T, query, reply []byte) {
		n := newNotes()
		n.query(query)
		n.response(reply)
		if ttl, ok := n.smallest(); ok && ttl < 0 {
			t.Errorf("TTL is %v", ttl)
		}
	})
}
