package proxyheader

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
)

// verdict is all that Parse returns.
type verdict struct {
	h       Header
	n, need int
	err     string
}

func parse(b []byte) verdict {
	h, n, need, err := Parse(b)
	v := verdict{h: h, n: n, need: need}
	if err != nil {
		v.err = err.Error()
	}
	return v
}

// version2 is a header of version 2 from its 13th and 14th byte and the parts
// that follow its length.
func version2(command, family byte, parts ...[]byte) []byte {
	rest := slices.Concat(parts...)
	b := append([]byte(signature2), command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(rest)))
	return append(b, rest...)
}

// tlv is an extension: its type, length and value.
func tlv(kind byte, value string) []byte {
	return append([]byte{kind, byte(len(value) >> 8), byte(len(value))}, value...)
}

// addresses is an address block: both addresses, then both ports.
func addresses(src, dst string) []byte {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	b := slices.Concat(s.Addr().AsSlice(), d.Addr().AsSlice())
	b = binary.BigEndian.AppendUint16(b, s.Port())
	return binary.BigEndian.AppendUint16(b, d.Port())
}

func header(src, dst, authority string) Header {
	return Header{netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst), authority}
}

type good struct {
	name  string
	bytes []byte
	want  Header
}

const (
	src4, dst4 = "192.0.2.1:56324", "198.51.100.2:443"
	src6, dst6 = "[2001:db8::1]:56324", "[2001:db8::2]:443"
	longest1   = "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"
)

// goodHeaders are of every form there is.
func goodHeaders() []good {
	more := [][]byte{tlv(4, "padding"), tlv(2, "web.example"), tlv(0x20, "\x00\x00\x00\x00\x00")}
	four, six := addresses(src4, dst4), addresses(src6, dst6)
	with := func(block []byte) [][]byte { return append([][]byte{block}, more...) }
	mapped := addresses("[::ffff:192.0.2.1]:56324", "[::ffff:198.51.100.2]:443")
	unix := make([]byte, 216)
	return []good{
		{"v1 TCP4", []byte("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"), header(src4, dst4, "")},
		{"v1 TCP6", []byte("PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n"), header(src6, dst6, "")},
		{"v1 TCP6 mapped", []byte("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.2 56324 443\r\n"), header(src4, dst4, "")},
		{"v1 UNKNOWN", []byte("PROXY UNKNOWN\r\n"), Header{}},
		{"v1 UNKNOWN and more", []byte("PROXY UNKNOWN what ever\r\n"), Header{}},
		{"v1 longest", []byte(longest1), Header{}},

		{"v2 v4", version2(0x21, 0x11, four), header(src4, dst4, "")},
		{"v2 v4 with more", version2(0x21, 0x11, with(four)...), header(src4, dst4, "web.example")},
		{"v2 v6", version2(0x21, 0x21, six), header(src6, dst6, "")},
		{"v2 v6 with more", version2(0x21, 0x21, with(six)...), header(src6, dst6, "web.example")},
		{"v2 v6 mapped", version2(0x21, 0x21, mapped), header(src4, dst4, "")},
		{"v2 longest", version2(0x21, 0x11, four, tlv(0xe0, strings.Repeat("x", max2-fixed2-len(four)-3))), header(src4, dst4, "")},
		{"v2 LOCAL", version2(0x20, 0), Header{}},
		{"v2 LOCAL with more", version2(0x20, 0, more...), Header{}},
		{"v2 LOCAL v4", version2(0x20, 0x11, four), Header{}},
		{"v2 LOCAL v4 without addresses", version2(0x20, 0x11), Header{}},
		{"v2 LOCAL with what no one reads", version2(0x20, 0, []byte("\x02\xff")), Header{}},
		{"v2 UNSPEC", version2(0x21, 0), Header{}},
		{"v2 UNSPEC with more", version2(0x21, 0, more...), Header{}},
		{"v2 UDP", version2(0x21, 0x12, four), Header{}},
		{"v2 UNIX", version2(0x21, 0x31, unix), Header{}},
		{"v2 UNIX with more", version2(0x21, 0x31, with(unix)...), Header{Authority: "web.example"}},
	}
}
