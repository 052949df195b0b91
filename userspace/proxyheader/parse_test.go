package proxyheader

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// TestGood reads every good header: whole, with all kinds of bytes after it, and
// cut off everywhere.
func TestGood(t *testing.T) {
	for _, g := range goodHeaders() {
		t.Run(g.name, func(t *testing.T) {
			want := verdict{h: g.want, n: len(g.bytes)}
			for _, after := range []string{"", "\x00", "\n", "\r\n", "\x16\x03\x01\x02\x00\x01", signature1, signature2, strings.Repeat("\xff", 70_000)} {
				if got := parse(append(slices.Clip(g.bytes), after...)); got != want {
					t.Fatalf("with %.20q after it: %+v, want %+v", after, got, want)
				}
			}
			for n := range g.bytes {
				got := parse(g.bytes[:n])
				if got.need <= n || got.need > len(g.bytes) || got != (verdict{need: got.need}) {
					t.Fatalf("%d of %d bytes: %+v", n, len(g.bytes), got)
				}
			}
		})
	}
}

// TestFewReads follows need as a caller does that lets the kernel wait for as
// many bytes: a header of version 2 takes four looks, the first at nothing.
func TestFewReads(t *testing.T) {
	for _, g := range goodHeaders() {
		looks, seen := 0, 0
		for {
			looks++
			got := parse(g.bytes[:seen])
			if got.need == 0 {
				break
			}
			seen = got.need
		}
		if g.bytes[0] == signature2[0] && looks > 4 {
			t.Errorf("%s: %d looks", g.name, looks)
		}
	}
}

// TestNotHeader changes each byte of both signatures: the error comes with that
// byte, and needs no more.
func TestNotHeader(t *testing.T) {
	want := verdict{err: ErrNotHeader.Error()}
	for _, signature := range []string{signature1, signature2} {
		for i := range len(signature) {
			b := []byte(signature[:i+1])
			b[i] ^= 0x20
			for _, after := range []string{"", "more"} {
				if got := parse(append(slices.Clip(b), after...)); got != want {
					t.Errorf("%q: %+v", b, got)
				}
			}
		}
	}
	for _, other := range []string{"\x16\x03\x01", "GET / HTTP/1.1\r\n", "PROXY\tTCP4", "PROXYTCP4", "proxy TCP4", "\r\n\r\nGET /", "\x00"} {
		if got := parse([]byte(other)); got != want {
			t.Errorf("%q: %+v", other, got)
		}
	}
}

func TestTooLong1(t *testing.T) {
	line := "PROXY UNKNOWN " + strings.Repeat("x", max1)
	for n := len("PROXY "); n < max1; n++ {
		if got := parse([]byte(line[:n])); got != (verdict{need: n + 1}) {
			t.Fatalf("%d bytes: %+v", n, got)
		}
	}
	want := verdict{err: "PROXY header has no end in 107 bytes"}
	for _, end := range []string{"", "x", "\n", "\r\n"} {
		if got := parse([]byte(line[:max1] + end)); got != want {
			t.Errorf("%d bytes and %q: %+v", max1, end, got)
		}
	}
}

func TestTooLong2(t *testing.T) {
	for length, want := range map[int]verdict{
		max2 - fixed2:     {need: max2},
		max2 - fixed2 + 1: {err: "PROXY header of 4097 bytes is longer than 4096"},
		0xffff:            {err: "PROXY header of 65551 bytes is longer than 4096"},
	} {
		b := version2(0x21, 0x11, make([]byte, length))
		if got := parse(b[:fixed2]); got != want {
			t.Errorf("length %d: %+v, want %+v", length, got, want)
		}
	}
}

// TestBad has whole headers whose contents are wrong.
func TestBad(t *testing.T) {
	four := addresses(src4, dst4)
	tests := []struct {
		name  string
		bytes []byte
		err   string // what the error has in it
	}{
		{"v1 LF only", []byte("PROXY UNKNOWN\n"), "must end with"},
		{"v1 empty", []byte("PROXY \r\n"), "address family"},
		{"v1 UDP4", []byte("PROXY UDP4 192.0.2.1 198.51.100.2 56324 443\r\n"), "address family"},
		{"v1 lower case", []byte("PROXY tcp4 192.0.2.1 198.51.100.2 56324 443\r\n"), "address family"},
		{"v1 no ports", []byte("PROXY TCP4 192.0.2.1 198.51.100.2\r\n"), "address family"},
		{"v1 too much", []byte("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 1\r\n"), "address family"},
		{"v1 two spaces", []byte("PROXY TCP4  192.0.2.1 198.51.100.2 56324 443\r\n"), "address family"},
		{"v1 no address", []byte("PROXY TCP4 example.com 198.51.100.2 56324 443\r\n"), "address"},
		{"v1 octet", []byte("PROXY TCP4 192.0.2.256 198.51.100.2 56324 443\r\n"), "address"},
		{"v1 short address", []byte("PROXY TCP4 192.0.2 198.51.100.2 56324 443\r\n"), "address"},
		{"v1 IPv6 in TCP4", []byte("PROXY TCP4 2001:db8::1 198.51.100.2 56324 443\r\n"), "address"},
		{"v1 IPv4 in TCP6", []byte("PROXY TCP6 192.0.2.1 198.51.100.2 56324 443\r\n"), "address"},
		{"v1 zone", []byte("PROXY TCP6 fe80::1%lo 2001:db8::2 56324 443\r\n"), "address"},
		{"v1 port", []byte("PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n"), "port"},
		{"v1 port with a zero", []byte("PROXY TCP4 192.0.2.1 198.51.100.2 56324 0443\r\n"), "port"},
		{"v1 negative port", []byte("PROXY TCP4 192.0.2.1 198.51.100.2 56324 -443\r\n"), "port"},

		{"v2 version 1", version2(0x11, 0x11, four), "version"},
		{"v2 command", version2(0x22, 0x11, four), "command"},
		{"v2 family", version2(0x21, 0x41, four), "address family"},
		{"v2 protocol", version2(0x21, 0x13, four), "address family"},
		{"v2 no addresses", version2(0x21, 0x11), "length"},
		{"v2 short addresses", version2(0x21, 0x11, four[:11]), "length"},
		{"v2 addresses of IPv4 for IPv6", version2(0x21, 0x21, four), "length"},
		{"v2 half an extension", version2(0x21, 0x11, four, []byte{2, 0}), "extensions"},
		{"v2 extension beyond the end", version2(0x21, 0x11, four, tlv(2, "web.example")[:8]), "extensions"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := parse(test.bytes)
			if !strings.Contains(got.err, test.err) || got != (verdict{err: got.err}) {
				t.Errorf("%+v, want an error with %q", got, test.err)
			}
			if strings.Contains(got.err, "\n") {
				t.Errorf("%q is more than a line", got.err)
			}
		})
	}
}

// FuzzParse holds Parse to its word on any bytes.
func FuzzParse(f *testing.F) {
	for _, g := range goodHeaders() {
		if len(g.bytes) < 300 {
			f.Add(g.bytes)
		}
	}
	f.Add([]byte("PROXY TCP4 192.0.2.256 198.51.100.2 56324 443\r\n\x16\x03\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		got := parse(b)
		if !bytes.Equal(b, before) {
			t.Fatal("Parse changed its input")
		}
		switch {
		case got.err != "":
			if got != (verdict{err: got.err}) {
				t.Fatalf("an error and more: %+v", got)
			}
		case got.need > 0:
			if got != (verdict{need: got.need}) || got.need <= len(b) || got.need > max2 {
				t.Fatalf("%d bytes: %+v", len(b), got)
			}
		default:
			if got.n <= 0 || got.n > len(b) || got.n > max2 {
				t.Fatalf("%d bytes: %+v", len(b), got)
			}
			if alone := parse(b[:got.n]); alone != got {
				t.Fatalf("%+v, but without what followed %+v", got, alone)
			}
			if got.h.Source.IsValid() != got.h.Dest.IsValid() {
				t.Fatalf("one address only: %+v", got.h)
			}
		}
	})
}
