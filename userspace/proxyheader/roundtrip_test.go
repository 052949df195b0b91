package proxyheader

import (
	"net/netip"
	"testing"
)

// FuzzRoundTrip writes any addresses and name, and reads back what was meant:
// the addresses as their family has them, without a zone, and the name as it is.
func FuzzRoundTrip(f *testing.F) {
	for _, src := range []string{src4, src6} {
		for _, dst := range []string{dst4, dst6} {
			s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
			f.Add(s.Addr().AsSlice(), s.Port(), d.Addr().AsSlice(), d.Port(), "web.example")
		}
	}
	mapped := netip.MustParseAddr("::ffff:192.0.2.1").AsSlice()
	f.Add(mapped, uint16(0), mapped, uint16(65535), "")
	f.Add([]byte{}, uint16(1), []byte{1, 2, 3}, uint16(2), "\x00\xff\r\n")

	f.Fuzz(func(t *testing.T, src []byte, srcPort uint16, dst []byte, dstPort uint16, name string) {
		s, srcOK := netip.AddrFromSlice(src)
		d, dstOK := netip.AddrFromSlice(dst)
		b, err := Append(nil, netip.AddrPortFrom(s, srcPort), netip.AddrPortFrom(d, dstPort), name)
		if !srcOK || !dstOK {
			if err == nil {
				t.Fatalf("wrote %q without an address", b)
			}
			return
		}
		if len(name) > max2/2 { // longer than any server name: too long for the reader, or for both
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		want := verdict{h: Header{netip.AddrPortFrom(s.Unmap(), srcPort), netip.AddrPortFrom(d.Unmap(), dstPort), name}, n: len(b)}
		if got := parse(b); got != want {
			t.Fatalf("%q reads as %+v, want %+v", b, got, want)
		}
		if got := parse(b[:len(b)-1]); got != (verdict{need: len(b)}) {
			t.Fatalf("all but a byte of %q: %+v", b, got)
		}
	})
}
