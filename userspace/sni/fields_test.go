package sni

import (
	"bytes"
	"crypto/tls"
	"testing"
)

func TestFields(t *testing.T) {
	name := serverName("a.b")
	ssl3, tls13 := uint16(tls.VersionTLS10-1), uint16(tls.VersionTLS13)

	tests := []struct {
		about   string
		in      message
		refusal Refusal
		alpn    string
		version uint16 // not compared if 0
	}{
		{about: "only a name", in: hello(name), version: tls.VersionTLS12},
		{about: "name first", in: hello(name, alpn("h2"), versions(tls13)), alpn: "h2", version: tls13},
		{about: "name last", in: hello(alpn("h2"), versions(tls13), name), alpn: "h2", version: tls13},
		{about: "no extensions", in: message{version: tls12}, refusal: NoName, version: tls12},
		{about: "empty block of extensions", in: hello([]extension{}...), refusal: NoName},
		{about: "no name", in: hello(alpn("h2"), versions(tls13)), refusal: NoName, alpn: "h2", version: tls13},

		{about: "unknown extensions", in: hello(extension{0x1234, []byte("x")}, name, extension{0xffff, nil})},
		{about: "GREASE extensions, twice the same", in: hello(extension{0x1a1a, nil}, name, extension{0x1a1a, []byte{0}})},
		{about: "ECH, whose inner name is not for us", in: hello(extension{0xfe0d, []byte("inner.example")}, name)},
		{about: "name twice", in: hello(name, name), refusal: BadHello},
		{about: "name twice, apart", in: hello(name, alpn("h2"), serverName("c.d")), refusal: BadHello},
		{about: "name twice, one empty", in: hello(extension{extServerName, nil}, name), refusal: BadHello},
		{about: "ALPN twice", in: hello(name, alpn("h2"), alpn("h2")), refusal: BadHello},
		{about: "versions twice", in: hello(name, versions(tls13), versions(tls12)), refusal: BadHello},

		{about: "legacy version of SSL 2.0", in: message{version: 2, extensions: []extension{name}}, refusal: BadVersion},
		{about: "SSL 3.0, no extensions", in: message{version: ssl3}, refusal: BadVersion, version: ssl3},
		{about: "SSL 3.0, though versions say more", in: message{version: ssl3, extensions: []extension{name, versions(tls13)}}, refusal: BadVersion},
		{about: "TLS 1.0", in: message{version: tls10, extensions: []extension{name}}, version: tls10},
		{about: "TLS 1.3 without versions is 1.2", in: message{version: tls13, extensions: []extension{name}}, version: tls12},
		{about: "legacy version 9.9", in: message{version: 0x0909, extensions: []extension{name}}, version: tls12},
		{about: "versions, GREASE first", in: hello(name, versions(0xfafa, tls13, tls12)), version: tls13},
		{about: "versions in any order", in: hello(name, versions(tls12, tls13, tls10)), version: tls13},
		{about: "versions with a draft", in: hello(name, versions(0x7f1c, tls12)), version: tls12},
		{about: "versions of a later TLS", in: hello(name, versions(0x0305)), version: 0x0305},
		{about: "versions only lower than legacy", in: hello(name, versions(tls10)), version: tls10},
		{about: "versions only SSL 3.0", in: hello(name, versions(ssl3)), refusal: BadVersion},
		{about: "versions only GREASE", in: hello(name, versions(0x0a0a)), refusal: BadVersion},
		{about: "versions empty", in: hello(name, versions()), refusal: BadHello},
		{about: "versions absent", in: hello(name, extension{extSupportedVersions, nil}), refusal: BadHello},
		{about: "versions odd", in: hello(name, extension{extSupportedVersions, []byte{3, 3, 4, 3}}), refusal: BadHello},
		{about: "versions and a byte", in: hello(name, extension{extSupportedVersions, []byte{2, 3, 4, 3}}), refusal: BadHello},

		{about: "ALPN of several", in: hello(name, alpn("consul", "h2")), alpn: "consul"},
		{about: "ALPN with GREASE first", in: hello(name, alpn("\x5a\x5a", "h2")), alpn: "h2"},
		{about: "ALPN only GREASE", in: hello(name, alpn("\xfa\xfa"))},
		{about: "ALPN almost GREASE", in: hello(name, alpn("\x5a\x6a", "h2")), alpn: "\x5a\x6a"},
		{about: "ALPN longest", in: hello(name, alpn(string(bytes.Repeat([]byte{0}, 255)))), alpn: string(bytes.Repeat([]byte{0}, 255))},
		{about: "ALPN empty list", in: hello(name, alpn()), refusal: BadHello},
		{about: "ALPN empty name", in: hello(name, alpn("h2", "")), refusal: BadHello},
		{about: "ALPN cut short", in: hello(name, extension{extALPN, []byte{0, 3, 5, 'h', '2'}}), refusal: BadHello},
		{about: "ALPN and a byte", in: hello(name, extension{extALPN, []byte{0, 3, 2, 'h', '2', 0}}), refusal: BadHello},

		{about: "session of 32", in: message{version: tls12, session: make([]byte, 32), extensions: []extension{name}}},
		{about: "session of 33", in: message{version: tls12, session: make([]byte, 33), extensions: []extension{name}}, refusal: BadHello},
		{about: "no cipher suites", in: message{version: tls12, suites: []byte{}, extensions: []extension{name}}, refusal: BadHello},
		{about: "half a cipher suite", in: message{version: tls12, suites: []byte{0x13, 1, 0}, extensions: []extension{name}}, refusal: BadHello},
		{about: "no compression methods", in: message{version: tls12, compressions: []byte{}, extensions: []extension{name}}, refusal: BadHello},
		{about: "several compression methods", in: message{version: tls12, compressions: []byte{1, 0}, extensions: []extension{name}}},
		{about: "half a length of extensions", in: message{version: tls12, block: []byte{0}}, refusal: BadHello},
		{about: "block longer than the message", in: message{version: tls12, block: []byte{0, 5, 0, 0, 0, 0}}, refusal: BadHello},
		{about: "extension longer than the block", in: message{version: tls12, block: []byte{0, 4, 0, 0, 0, 1}}, refusal: BadHello},
		{about: "block ends in an extension's type", in: message{version: tls12, block: []byte{0, 1, 0}}, refusal: BadHello},
		{about: "garbage after the block", in: message{version: tls12, extensions: []extension{name}, tail: []byte{0}}, refusal: BadHello},
		{about: "message header short by one", in: message{version: tls12, extensions: []extension{name}, shorter: 1}, refusal: BadHello},

		{about: "ill built comes before old", in: hello(versions(ssl3), alpn()), refusal: BadHello},
		{about: "old comes before no name", in: hello(versions(ssl3)), refusal: BadVersion},
	}
	var h Hello
	for _, tt := range tests {
		t.Run(tt.about, func(t *testing.T) {
			in := tt.in.stream()
			need, r := h.Parse(in, DefaultMax)
			if need != 0 || r != tt.refusal {
				t.Fatalf("Parse: need %d, %v; want %v", need, r, tt.refusal)
			}
			if got := string(h.ALPN()); tt.refusal != BadHello && got != tt.alpn {
				t.Errorf("ALPN %q, want %q", got, tt.alpn)
			}
			if tt.version != 0 && h.Version != tt.version {
				t.Errorf("version %#04x, want %#04x", h.Version, tt.version)
			}
			if r == None && (string(h.Name()) != "a.b" || h.Len != len(in)) {
				t.Errorf("name %q, Len %d; want a.b, %d", h.Name(), h.Len, len(in))
			}
		})
	}
}

// A hello cut off anywhere, with lengths that say it is whole, is a bad one or has
// no name: never one with another name.
func TestCutBody(t *testing.T) {
	body := hello(alpn("h2"), serverName("a.b"), versions(tls.VersionTLS13)).body()
	bare := len(message{version: tls12}.body())
	var h Hello
	for n := range body {
		msg := append([]byte{typeHello, 0, byte(n >> 8), byte(n)}, body[:n]...)
		want := BadHello
		if n == bare {
			want = NoName // as hellos could end before there were extensions
		}
		if need, r := h.Parse(record(msg), DefaultMax); need != 0 || r != want {
			t.Errorf("%d of %d bytes: need %d, %v; want %v", n, len(body), need, r, want)
		}
	}
}
