package sni

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// FuzzParse holds Parse to its word on any bytes and limit.
func FuzzParse(f *testing.F) {
	for _, c := range captures(f) {
		f.Add(c.stream, DefaultMax)
		f.Add(records(joined(c.stream), 100), DefaultMax)
	}
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		limit = min(max(limit, 0), LargestMax)
		before := bytes.Clone(b)
		var h Hello
		v := parse(&h, b, limit)
		if !bytes.Equal(b, before) {
			t.Fatal("Parse changed its input")
		}
		expectSane(t, b, limit, v)

		if v.Need > 0 {
			if v.Refusal != None || v.Need <= len(b) || v.Need > limit || v.Name != "" {
				t.Fatalf("%d bytes of at most %d: %+v", len(b), limit, v)
			}
			return
		}
		for _, more := range [][]byte{{0}, {22, 3, 1, 0, 1, 1}, bytes.Repeat([]byte{0xff}, 300)} {
			if got := parse(&h, cat(b, more), limit); got != v {
				t.Fatalf("%+v, but with %x after it %+v", v, more, got)
			}
		}
		if v.Refusal == None {
			expectWhole(t, b[:v.Len], limit, v)
			expectAsGo(t, b, v)
		}
	})
}

// expectSane is what holds for every verdict.
func expectSane(t *testing.T, b []byte, limit int, v verdict) {
	t.Helper()
	if v.Len > len(b) || v.Len > limit {
		t.Fatalf("%d bytes of at most %d: Len %d", len(b), limit, v.Len)
	}
	if whole := v.Need == 0 && v.Refusal == None; whole && v.Name == "" {
		t.Fatal("a good hello without a name")
	}
	if v.Name != "" && !goodName(v.Name) {
		t.Fatalf("bad name %q", v.Name)
	}
}

// expectWhole checks a good hello that b has nothing after.
func expectWhole(t *testing.T, b []byte, limit int, v verdict) {
	t.Helper()
	var h Hello
	if got := parse(&h, b, limit); got != v {
		t.Fatalf("%+v, but without what followed %+v", v, got)
	}
	// Some prefixes of a long hello, all of a short one, and the end in any case.
	for n := 0; n < len(b); n += max(1, min(len(b)/200, len(b)-1-n)) {
		if need, r := h.Parse(b[:n], limit); r != None || need <= n || need > len(b) {
			t.Fatalf("%d of %d bytes: need %d, %v", n, len(b), need, r)
		}
	}
	// The same message in other records.
	for _, size := range []int{1, 5, 1000} {
		in := records(joined(b), size)
		want := v
		want.Len = len(in)
		if got := parse(&h, in, len(in)); got != want {
			t.Fatalf("%+v, but in records of %d %+v", v, size, got)
		}
	}
}

// FuzzBody compares what is read in a message with what Go's server reads in it.
func FuzzBody(f *testing.F) {
	for _, c := range captures(f) {
		f.Add(joined(c.stream)[messageHeader:])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > 1<<15 {
			return
		}
		msg := append([]byte{typeHello, 0, byte(len(body) >> 8), byte(len(body))}, body...)
		in := records(msg, maxRecord)
		var h Hello
		v := parse(&h, in, LargestMax)
		if v.Need != 0 {
			t.Fatalf("a whole hello, but %+v", v)
		}
		expectSane(t, in, LargestMax, v)
		if v.Refusal == None {
			expectAsGo(t, in, v)
			return
		}
		info := goReads(in)
		if info == nil {
			return
		}
		// Go's server reads on. Then there is a rule that it does not insist on.
		var fine bool
		_, err := netip.ParseAddr(strings.TrimSuffix(info.ServerName, "."))
		address := err == nil
		switch v.Refusal {
		case BadHello:
			fine = info.ServerName != "" && !goodName(strings.ToLower(info.ServerName)) && !address || oddFields(body)
		case BadVersion:
			fine = body[0] < 3 || body[0] == 3 && body[1] == 0 ||
				!slices.ContainsFunc(info.SupportedVersions, func(v uint16) bool { return v>>8 == 3 && v > 0x0300 })
		case NoName:
			fine = info.ServerName == "" || address
		}
		if !fine {
			t.Errorf("%v, but crypto/tls reads name %q, versions %#x", v.Refusal, info.ServerName, info.SupportedVersions)
		}
	})
}

// oddFields tells whether one of the vectors before the extensions is of a length
// that it must not have. Go has read body, so all are there.
func oddFields(body []byte) bool {
	session := int(body[34])
	suites := int(body[35+session])<<8 + int(body[36+session])
	compressions := body[37+session+suites]
	return session > 32 || suites == 0 || compressions == 0
}

var label = regexp.MustCompile(`^[a-z0-9_-]{1,63}$`)

func goodName(name string) bool {
	return len(name) <= 253 && !slices.ContainsFunc(strings.Split(name, "."), func(s string) bool { return !label.MatchString(s) })
}

// expectAsGo checks a good hello against what Go's server makes of the stream, if
// it does not refuse it for something that Parse does not look at.
func expectAsGo(t *testing.T, stream []byte, v verdict) {
	t.Helper()
	info := goReads(stream)
	if info == nil {
		return
	}
	if want := strings.ToLower(info.ServerName); v.Name != want {
		t.Errorf("name %q; crypto/tls reads %q", v.Name, want)
	}
	var first string
	for _, p := range info.SupportedProtos {
		if first == "" && !greaseProtocol([]byte(p)) {
			first = p
		}
	}
	if v.ALPN != first {
		t.Errorf("ALPN %q; crypto/tls reads %q", v.ALPN, first)
	}
}

// goReads is what Go's server reads in a hello, nil if it refuses it.
func goReads(stream []byte) (info *tls.ClientHelloInfo) {
	config := &tls.Config{GetConfigForClient: func(i *tls.ClientHelloInfo) (*tls.Config, error) {
		info = i
		return nil, errors.New("seen enough")
	}}
	// It fails always: by the function above, or before it comes to that.
	_ = tls.Server(&deadConn{Reader: bytes.NewReader(stream)}, config).Handshake()
	return info
}

// A deadConn has sent all it will, and hears nothing.
type deadConn struct {
	net.Conn
	io.Reader
}

func (c *deadConn) Read(p []byte) (int, error)       { return c.Reader.Read(p) }
func (c *deadConn) Write(p []byte) (int, error)      { return len(p), nil }
func (c *deadConn) Close() error                     { return nil }
func (c *deadConn) SetDeadline(time.Time) error      { return nil }
func (c *deadConn) SetWriteDeadline(time.Time) error { return nil }
func (c *deadConn) RemoteAddr() net.Addr             { return nil }
func (c *deadConn) LocalAddr() net.Addr              { return nil }
