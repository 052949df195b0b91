package proxyheader

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestAppend(t *testing.T) {
	name := tlv(2, "web.example")
	tests := []struct {
		title    string
		src, dst string
		name     string
		want     []byte
		read     Header // what Parse makes of it
	}{
		{"v4", src4, dst4, "web.example", version2(0x21, 0x11, addresses(src4, dst4), name), header(src4, dst4, "web.example")},
		{"v6", src6, dst6, "web.example", version2(0x21, 0x21, addresses(src6, dst6), name), header(src6, dst6, "web.example")},
		{"no name", src4, dst4, "", version2(0x21, 0x11, addresses(src4, dst4)), header(src4, dst4, "")},
		{
			"v4 to v6", src4, dst6, "web.example",
			version2(0x21, 0x21, addresses("[::ffff:192.0.2.1]:56324", dst6), name), header(src4, dst6, "web.example"),
		},
		{
			"v6 to v4", src6, dst4, "web.example",
			version2(0x21, 0x21, addresses(src6, "[::ffff:198.51.100.2]:443"), name), header(src6, dst4, "web.example"),
		},
		{
			"mapped", "[::ffff:192.0.2.1]:56324", "[::ffff:198.51.100.2]:443", "web.example",
			version2(0x21, 0x11, addresses(src4, dst4), name), header(src4, dst4, "web.example"),
		},
		{
			"zone", "[fe80::1%lo]:1", "[fe80::2%lo]:65535", "",
			version2(0x21, 0x21, addresses("[fe80::1]:1", "[fe80::2]:65535")), header("[fe80::1]:1", "[fe80::2]:65535", ""),
		},
		{
			"longest name", src6, dst6, strings.Repeat("n", 253),
			version2(0x21, 0x21, addresses(src6, dst6), tlv(2, strings.Repeat("n", 253))), header(src6, dst6, strings.Repeat("n", 253)),
		},
	}
	for _, test := range tests {
		t.Run(test.title, func(t *testing.T) {
			src, dst := netip.MustParseAddrPort(test.src), netip.MustParseAddrPort(test.dst)
			got, err := Append([]byte("before"), src, dst, test.name)
			if err != nil {
				t.Fatal(err)
			}
			if want := slices.Concat([]byte("before"), test.want); !slices.Equal(got, want) {
				t.Fatalf("wrote\n%q, want\n%q", got, want)
			}
			got = append(got[len("before"):], "after"...)
			if v := parse(got); v != (verdict{h: test.read, n: len(test.want)}) {
				t.Errorf("reads as %+v, want %+v", v, test.read)
			}
		})
	}
}

func TestAppendErrors(t *testing.T) {
	src, dst := netip.MustParseAddrPort(src4), netip.MustParseAddrPort(dst4)
	for name, call := range map[string]func() ([]byte, error){
		"no source":      func() ([]byte, error) { return Append(nil, netip.AddrPort{}, dst, "web.example") },
		"no destination": func() ([]byte, error) { return Append(nil, src, netip.AddrPort{}, "web.example") },
		"endless name":   func() ([]byte, error) { return Append(nil, src, dst, strings.Repeat("n", 1<<16)) },
		"too much":       func() ([]byte, error) { return Append(nil, src, dst, strings.Repeat("n", 1<<16-4)) },
	} {
		b, err := call()
		if err == nil || !strings.Contains(err.Error(), "PROXY header") || b != nil {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	header, err := Append(nil, netip.MustParseAddrPort(src4), netip.MustParseAddrPort(dst4), "web.example")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, n, _, err := Parse(header); err != nil || n != len(header) {
			b.Fatal(n, err)
		}
	}
}
