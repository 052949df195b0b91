package sni

import (
	"strings"
	"testing"
)

func TestName(t *testing.T) {
	label := strings.Repeat("x", maxLabel)
	longest := strings.Join([]string{label, label, label, label[:61]}, ".")
	if len(longest) != maxName {
		t.Fatalf("longest name has %d bytes", len(longest))
	}
	same := []string{
		meshName, "v1.web.default.dc1.internal.11111111-2222-3333-4444-555555555555.consul",
		"server.dc1.consul", "my_service.default", "_tcp.x", "localhost", "a", "7", "1.2.3", "1.2.3.4.5", "256.1.1.1",
		"10.0.0.1.example", "xn--bcher-kva.example", "-a-.b", label + ".x", longest,
	}
	for _, name := range same {
		expectName(t, name, name, None)
	}
	expectName(t, "WEB.Default.DC1.X_Y", "web.default.dc1.x_y", None)
	expectName(t, "AZaz09", "azaz09", None)
	expectName(t, "a.b.", "a.b", None)
	expectName(t, longest+".", longest, None)

	for _, name := range []string{
		"127.0.0.1", "10.1.2.3.", "0.0.0.0", "::1", "::", "2001:db8::1", "FE80::1", "fe80::1%eth0", "::ffff:10.0.0.1",
	} {
		expectName(t, name, "", NoName)
	}
	for _, name := range []string{
		"", ".", "..", ".a", "a..", "a..b", "*", "*.b", "a.*", "a b", " a", "a\x00", "a\x00.b", "\x00", "a\n", "a/b", "a:443", "a@b",
		"[::1]", "::g", "1:2", "bücher.example", "a\xffb", "\xe3\x80\x82", "a\x7f", "a`b", "a{b", "a@b", "a[b", "a,b",
		label + "x", label + "x.b", "a." + label + "x", longest + "x", longest[1:] + "..", strings.Repeat("a.", 200), strings.Repeat("a", 5000),
	} {
		expectName(t, name, "", BadHello)
	}
}

// Every byte that may be in a name, and no other.
func TestNameBytes(t *testing.T) {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
	for c := range 256 {
		name := "a" + string([]byte{byte(c)}) + "a"
		if strings.IndexByte(allowed, byte(c)) >= 0 {
			expectName(t, name, strings.ToLower(name), None)
		} else {
			expectName(t, name, "", BadHello)
		}
	}
}

func TestNameList(t *testing.T) {
	tests := []struct {
		about   string
		in      extension
		name    string
		refusal Refusal
	}{
		{about: "other type first", in: nameList(nameEntry{1, "x"}, nameEntry{hostName, "a.b"}), name: "a.b"},
		{about: "other type last", in: nameList(nameEntry{hostName, "a.b"}, nameEntry{255, ""}), name: "a.b"},
		{about: "other types twice", in: nameList(nameEntry{7, "x"}, nameEntry{7, "y"}, nameEntry{hostName, "a.b"}), name: "a.b"},
		{about: "only another type", in: nameList(nameEntry{1, "a.b"}), refusal: NoName},
		{about: "two host names", in: nameList(nameEntry{hostName, "a.b"}, nameEntry{hostName, "c.d"}), refusal: BadHello},
		{about: "the same host name twice", in: nameList(nameEntry{hostName, "a.b"}, nameEntry{hostName, "a.b"}), refusal: BadHello},
		{about: "an address and a name", in: nameList(nameEntry{hostName, "10.0.0.1"}, nameEntry{hostName, "a.b"}), refusal: BadHello},
		{about: "empty host name", in: serverName(""), refusal: BadHello},
		{about: "empty list", in: nameList(), refusal: BadHello},
		{about: "empty, as servers answer", in: extension{extServerName, nil}, refusal: BadHello},
		{about: "list longer than the extension", in: extension{extServerName, []byte{0, 5, 0, 0, 1, 'a'}}, refusal: BadHello},
		{about: "list shorter than the extension", in: extension{extServerName, []byte{0, 4, 0, 0, 1, 'a', 0}}, refusal: BadHello},
		{about: "name longer than the list", in: extension{extServerName, []byte{0, 4, 0, 0, 2, 'a'}}, refusal: BadHello},
		{about: "list ends in a type", in: extension{extServerName, []byte{0, 5, 0, 0, 1, 'a', 0}}, refusal: BadHello},
	}
	for _, tt := range tests {
		var h Hello
		need, r := h.Parse(hello(tt.in).stream(), DefaultMax)
		if need != 0 || r != tt.refusal || string(h.Name()) != tt.name {
			t.Errorf("%s: need %d, %v, name %q; want %v, %q", tt.about, need, r, h.Name(), tt.refusal, tt.name)
		}
	}
}

func expectName(t *testing.T, host, want string, refusal Refusal) {
	t.Helper()
	var h Hello
	need, r := h.Parse(named(host), DefaultMax)
	if need != 0 || r != refusal || string(h.Name()) != want {
		t.Errorf("%q: need %d, %v, name %q; want %v, %q", host, need, r, h.Name(), refusal, want)
	}
}
