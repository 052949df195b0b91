package sni

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A verdict is all that Parse says of some bytes.
type verdict struct {
	Need    int
	Refusal Refusal
	Name    string
	ALPN    string
	Version uint16
	Len     int
}

func parse(h *Hello, b []byte, limit int) verdict {
	need, r := h.Parse(b, limit)
	return verdict{need, r, string(h.Name()), string(h.ALPN()), h.Version, h.Len}
}

func TestRecords(t *testing.T) {
	good := hello(serverName("a.b"))
	msg := good.bytes()
	n := len(msg)
	half := n / 2
	zero := []byte{22, 3, 1, 0, 0}
	alert := []byte{21, 3, 1, 0, 2, 1, 0}
	version := func(b []byte, major, minor byte) []byte {
		b = bytes.Clone(b)
		b[1], b[2] = major, minor
		return b
	}

	tests := []struct {
		about   string
		in      []byte
		limit   int // DefaultMax if 0
		need    int
		refusal Refusal
	}{
		{about: "nothing", in: nil, need: 9},
		{about: "type", in: []byte{22}, need: 9},
		{about: "record header", in: []byte{22, 3, 1, 2, 0}, need: 5 + 512},
		{about: "record header but a byte", in: []byte{22, 3, 1, 2}, need: 5 + 512},
		{about: "short record", in: []byte{22, 3, 1, 0, 2}, need: 5 + 2 + 5 + 2},
		{about: "message in two records", in: []byte{22, 3, 1, 0, 200, 1, 0, 1, 0}, need: 5 + 200 + 5 + 60},
		{about: "message in many records", in: []byte{22, 3, 1, 0x40, 0, 1, 0, 0xa0, 0}, limit: LargestMax, need: 0xa000 + 4 + 3*5},
		{about: "one byte short", in: good.stream()[:n+4], need: n + 5},
		{about: "whole", in: good.stream()},
		{about: "whole, at the limit", in: good.stream(), limit: n + 5},
		{about: "whole, then bytes of the stream", in: cat(good.stream(), []byte("early data"))},
		{about: "whole, then a record", in: cat(good.stream(), alert)},

		{about: "SSH", in: []byte("S"), refusal: NotTLS},
		{about: "HTTP", in: []byte("GET / HTTP/1.1\r\n"), refusal: NotTLS},
		{about: "PROXY v2", in: []byte("\r\n\r\n\x00\r\nQUIT\n"), refusal: NotTLS},
		{about: "alert first", in: alert, refusal: NotTLS},
		{about: "major version 2", in: []byte{22, 2}, refusal: NotTLS},
		{about: "major version 254, DTLS", in: []byte{22, 254, 253}, refusal: NotTLS},
		{about: "record version 3.0", in: version(good.stream(), 3, 0)},
		{about: "record version 3.4", in: version(good.stream(), 3, 4)},
		{about: "record version 3.255", in: version(good.stream(), 3, 255)},

		{about: "SSL 2.0, maybe", in: []byte{0x80}, need: 5},
		{about: "SSL 2.0, maybe", in: []byte{0x80, 0x2e, 1, 3}, need: 5},
		{about: "SSL 2.0, too large", in: []byte{0x80, 0x2e, 1, 3}, limit: 4, refusal: TooLarge},
		{about: "SSL 2.0", in: []byte{0x80, 0x2e, 1, 0, 2, 0, 0x15}, refusal: BadVersion},
		{about: "SSL 2.0 for TLS 1.0", in: []byte{0x80, 0x2e, 1, 3, 1, 0, 0x15}, refusal: BadVersion},
		{about: "SSL 2.0, other message", in: []byte{0x80, 0x2e, 2}, refusal: NotTLS},
		{about: "SSL 2.0, no such version", in: []byte{0x80, 0x2e, 1, 7}, refusal: NotTLS},
		{about: "SSL 2.0, no such version", in: []byte{0x80, 0x2e, 1, 0, 3}, refusal: NotTLS},
		{about: "0x80 and more", in: []byte("\x80\x81\x82\x83\x84\x85"), refusal: NotTLS},

		{about: "zero-length record first", in: cat(zero, good.stream()), refusal: BadHello},
		{about: "zero-length record between", in: cat(record(msg[:half]), zero), refusal: BadHello},
		{about: "alert between", in: cat(record(msg[:half]), alert[:1]), refusal: BadHello},
		{about: "garbage between", in: cat(record(msg[:half]), []byte{22, 9}), refusal: BadHello},
		{about: "minor version changes", in: cat(record(msg[:half]), version(record(msg[half:]), 3, 3))},
		{about: "other message", in: []byte{22, 3, 1, 0, 100, 2}, refusal: BadHello},
		{about: "other message, whole", in: message{kind: 11, version: tls12}.stream(), refusal: BadHello},
		{about: "message shorter than record", in: []byte{22, 3, 1, 0, 100, 1, 0, 0, 95}, refusal: BadHello},
		{about: "another message in the record", in: record(cat(msg, msg)), refusal: BadHello},
		{about: "another message in the last record", in: cat(record(msg[:half]), record(cat(msg[half:], msg))), refusal: BadHello},
		{about: "empty message", in: record([]byte{1, 0, 0, 0}), refusal: BadHello},

		{about: "record too long", in: []byte{22, 3, 1, 0x40, 1}, limit: LargestMax, refusal: TooLarge},
		{about: "record too long, half its length", in: []byte{22, 3, 1, 0x41}, limit: LargestMax, refusal: TooLarge},
		{about: "record longest", in: []byte{22, 3, 1, 0x40, 0}, limit: LargestMax, need: 5 + 0x4000},
		{about: "record over the limit", in: []byte{22, 3, 1, 0, 96}, limit: 100, refusal: TooLarge},
		{about: "record at the limit", in: []byte{22, 3, 1, 0, 95}, limit: 100, need: 100},
		{about: "message over the limit", in: []byte{22, 3, 1, 0, 50, 1, 0, 0, 96 - 9}, limit: 100, refusal: TooLarge},
		{about: "message at the limit", in: []byte{22, 3, 1, 0, 50, 1, 0, 0, 95 - 9}, limit: 100, need: 100},
		{about: "message over the limit by its first byte", in: []byte{22, 3, 1, 0, 50, 1, 1}, limit: LargestMax, refusal: TooLarge},
		{about: "message over the limit by records", in: records(msg, 1), limit: 6*n - 1, refusal: TooLarge},
		{about: "message at the limit in records", in: records(msg, 1), limit: 6 * n},
		{about: "whole but over the limit", in: good.stream(), limit: n + 4, refusal: TooLarge},
	}
	var h Hello
	for _, tt := range tests {
		t.Run(tt.about, func(t *testing.T) {
			if tt.limit == 0 {
				tt.limit = DefaultMax
			}
			need, r := h.Parse(tt.in, tt.limit)
			if need != tt.need || r != tt.refusal {
				t.Fatalf("Parse: need %d, %v; want need %d, %v", need, r, tt.need, tt.refusal)
			}
			if whole := need == 0 && r == None; whole && string(h.Name()) != "a.b" || !whole && len(h.Name()) > 0 {
				t.Errorf("name %q, whole: %v", h.Name(), whole)
			}
		})
	}
}

// What follows a hello is neither read nor counted.
func TestLen(t *testing.T) {
	msg := hello(serverName("a.b")).bytes()
	for _, size := range []int{1, 7, 20, len(msg) - 1, maxRecord} {
		in := records(msg, size)
		var h Hello
		if need, r := h.Parse(cat(in, []byte("\x16\x03\x01junk")), DefaultMax); need != 0 || r != None {
			t.Fatalf("records of %d: need %d, %v", size, need, r)
		}
		if h.Len != len(in) {
			t.Errorf("records of %d: Len %d, want %d", size, h.Len, len(in))
		}
	}
}

// However a hello arrives, it is asked for in steps that never go past its end,
// and comes out the same.
func TestEveryPrefix(t *testing.T) {
	for _, c := range captures(t) {
		for _, size := range []int{maxRecord, 512, 100, 1} {
			t.Run(fmt.Sprintf("%s by %d", c.file, size), func(t *testing.T) {
				t.Parallel()
				in := records(joined(c.stream), size)
				var h Hello
				whole := parse(&h, in, LargestMax)
				if want := c.verdict(len(in)); whole != want {
					t.Fatal(cmp.Diff(want, whole))
				}
				step := 1
				if size == 1 {
					step = 31 // comes by every place of a record of six, and sooner to the end
				}
				for n := 0; n < len(in); n += step {
					need, r := h.Parse(in[:n], LargestMax)
					if need <= n || need > len(in) || r != None {
						t.Fatalf("%d of %d bytes: need %d, %v", n, len(in), need, r)
					}
				}
			})
		}
	}
}

// Wherever a hello is cut into two records, it is the same hello; and its message
// header may be anywhere.
func TestEveryCut(t *testing.T) {
	for _, c := range captures(t) {
		msg := joined(c.stream)
		var h Hello
		want := c.verdict(len(msg) + 2*recordHeader)
		for i := 1; i < len(msg); i++ {
			in := cat(record(msg[:i]), record(msg[i:]))
			if got := parse(&h, in, DefaultMax); got != want {
				t.Fatalf("%s cut at %d: %s", c.file, i, cmp.Diff(want, got))
			}
		}
	}
}

// A client that sends as little as it can at a time is looked at only a few times.
func TestFewLooks(t *testing.T) {
	in := records(hello(serverName("a.b"), extension{21, make([]byte, 2000)}).bytes(), 1)
	var h Hello
	looks := 1
	for n := 1; ; looks++ {
		need, r := h.Parse(in[:n], LargestMax)
		if r != None {
			t.Fatal(r)
		}
		if need == 0 {
			break
		}
		n = need
	}
	if looks > 60 {
		t.Errorf("%d bytes were looked at %d times", len(in), looks)
	}
}

// Nothing of one hello shows in the next.
func TestReuse(t *testing.T) {
	full := hello(serverName("long.name.example"), alpn("h2"), versions(0x0304))
	var h Hello
	for _, in := range [][]byte{
		{}, []byte("GET"), named("x"), hello(alpn("a")).stream(), {22, 3, 1, 0x40, 1},
		records(full.bytes(), 3), named("*"), records(hello().bytes(), 9), {22},
	} {
		if need, r := h.Parse(full.stream(), DefaultMax); need != 0 || r != None {
			t.Fatalf("need %d, %v", need, r)
		}
		var fresh Hello
		if diff := cmp.Diff(parse(&fresh, in, DefaultMax), parse(&h, in, DefaultMax)); diff != "" {
			t.Errorf("%q (-fresh +reused):\n%s", in, diff)
		}
	}
}

// A name outlives the bytes it was read from.
func TestNameIsACopy(t *testing.T) {
	in := hello(serverName("API.Example"), alpn("h2")).stream()
	before := bytes.Clone(in)
	var h Hello
	h.Parse(in, DefaultMax)
	if !bytes.Equal(in, before) {
		t.Error("Parse changed its input")
	}
	clear(in)
	if got := string(h.Name()) + " " + string(h.ALPN()); got != "api.example h2" {
		t.Errorf("afterwards: %q", got)
	}
}

func TestNoAllocation(t *testing.T) {
	for _, c := range captures(t) {
		for _, size := range []int{maxRecord, 300, 1} {
			in := records(joined(c.stream), size)
			expectNoAllocation(t, fmt.Sprintf("%s by %d", c.file, size), in)
		}
	}
	expectNoAllocation(t, "upper case", named("WEB.Default.DC1.internal.X.CONSUL."))
	expectNoAllocation(t, "ends in digits", named("web.dc1.10.0.0.1"))
	expectNoAllocation(t, "no name", hello().stream())
}

func expectNoAllocation(t *testing.T, about string, in []byte) {
	t.Helper()
	var h Hello
	h.Parse(in, LargestMax)
	if n := testing.AllocsPerRun(100, func() { h.Parse(in, LargestMax) }); n > 0 {
		t.Errorf("%s: %v allocations", about, n)
	}
}

func BenchmarkParse(b *testing.B) {
	stream := capture(b, "go-x25519mlkem768.hex").stream
	msg := joined(stream)
	for _, bb := range []struct {
		about string
		in    []byte
	}{
		{"whole", stream},
		{"first-1400", stream[:1400]},
		{"two-records", cat(record(msg[:1400]), record(msg[1400:]))},
		{"byte-records", records(msg, 1)},
		{"upper-case", named("WEB.DEFAULT.DC1.INTERNAL.TEST.CONSUL")},
		{"not-tls", []byte("GET / HTTP/1.1\r\n")},
	} {
		b.Run(bb.about, func(b *testing.B) {
			b.ReportAllocs()
			var h Hello
			for b.Loop() {
				h.Parse(bb.in, DefaultMax)
			}
		})
	}
}
