// Package proxyheader reads and writes the PROXY protocol, by which a proxy tells
// the next one who the client is (HAProxy's proxy-protocol.txt, versions 1 and
// 2). Reading works on what has been peeked at so far, like package sni; the
// format itself is go-proxyproto's business.
package proxyheader

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/pires/go-proxyproto"
)

const (
	signature1 = "PROXY "
	signature2 = "\r\n\r\n\x00\r\nQUIT\n"

	fixed2 = 16  // bytes of a version 2 header before its addresses
	max1   = 107 // the longest line of version 1, with its CRLF
	max2   = 4 << 10
)

// Header is what a PROXY header tells. The addresses are zero when it names none:
// the connection is the sender's own (LOCAL), unknown, or of a family without ports.
type Header struct {
	Source, Dest netip.AddrPort
	Authority    string // the server name that the client asked for, if told
}

// ErrNotHeader is for a stream that begins with something else.
var ErrNotHeader = errors.New("no PROXY header")

// Parse reads the header that b begins with, b being all that the peer has sent.
// When need is more than 0, it is not whole: at least so many bytes in all must
// be there to go on. Otherwise n is its length, or err says what is wrong.
func Parse(b []byte) (h Header, n, need int, err error) {
	switch {
	case len(b) == 0:
		return h, 0, 1, nil
	case b[0] == signature1[0]:
		n, need, err = size1(b)
	default:
		n, need, err = size2(b)
	}
	if err != nil || need > 0 {
		return h, 0, need, err
	}
	if unspecified(b[:n]) {
		return h, n, 0, nil
	}
	parsed, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(b[:n]), n))
	if err != nil {
		return h, 0, 0, fmt.Errorf("read PROXY header: %w", err)
	}
	if h, err = from(parsed); err != nil {
		return Header{}, 0, 0, err
	}
	return h, n, 0, nil
}

// size1 finds the end of a version 1 header, a line.
func size1(b []byte) (n, need int, err error) {
	if !begins(b, signature1) {
		return 0, 0, ErrNotHeader
	}
	if i := bytes.IndexByte(b[:min(len(b), max1)], '\n'); i >= 0 {
		return i + 1, 0, nil
	}
	if len(b) >= max1 {
		return 0, 0, fmt.Errorf("PROXY header has no end in %d bytes", max1)
	}
	return 0, len(b) + 1, nil
}

// size2 finds the end of a version 2 header, which says how long it is.
func size2(b []byte) (n, need int, err error) {
	if !begins(b, signature2) {
		return 0, 0, ErrNotHeader
	}
	if len(b) < fixed2 {
		return 0, fixed2, nil
	}
	n = fixed2 + int(binary.BigEndian.Uint16(b[fixed2-2:]))
	if n > max2 {
		return 0, 0, fmt.Errorf("PROXY header of %d bytes is longer than %d", n, max2)
	}
	if len(b) < n {
		return 0, n, nil
	}
	return n, 0, nil
}

// unspecified tells whether a version 2 header passes a connection on without
// saying from where (PROXY with UNSPEC). Section 2.2 leaves it to the receiver to
// accept that; we do, as it is what UNKNOWN is in version 1. go-proxyproto does
// not.
func unspecified(b []byte) bool {
	return b[0] == signature2[0] &&
		b[len(signature2)] == byte(proxyproto.PROXY) && b[len(signature2)+1] == byte(proxyproto.UNSPEC)
}

// begins tells whether b begins with s, as far as it goes.
func begins(b []byte, s string) bool {
	n := min(len(b), len(s))
	return string(b[:n]) == s[:n]
}

func from(p *proxyproto.Header) (Header, error) {
	var h Header
	if p.Command.IsLocal() || !p.TransportProtocol.IsStream() {
		return h, nil
	}
	src, srcOK := p.SourceAddr.(*net.TCPAddr)
	dst, dstOK := p.DestinationAddr.(*net.TCPAddr)
	if srcOK && dstOK {
		h.Source, h.Dest = unmap(src.AddrPort()), unmap(dst.AddrPort())
	}
	tlvs, err := p.TLVs()
	if err != nil {
		return Header{}, fmt.Errorf("read extensions of PROXY header: %w", err)
	}
	for _, tlv := range tlvs {
		if tlv.Type == proxyproto.PP2_TYPE_AUTHORITY {
			h.Authority = string(tlv.Value)
		}
	}
	return h, nil
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// Append adds a version 2 header to b: a connection from src to dst, whose client
// asked for serverName, "" for none. Addresses of two families are both told as
// IPv6.
func Append(b []byte, src, dst netip.AddrPort, serverName string) ([]byte, error) {
	src, dst = unmap(src), unmap(dst)
	h := proxyproto.Header{
		Version:           2,
		Command:           proxyproto.PROXY,
		TransportProtocol: proxyproto.TCPv4,
		SourceAddr:        net.TCPAddrFromAddrPort(src),
		DestinationAddr:   net.TCPAddrFromAddrPort(dst),
	}
	if !src.Addr().Is4() || !dst.Addr().Is4() {
		h.TransportProtocol = proxyproto.TCPv6
	}
	if serverName != "" {
		name := proxyproto.TLV{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: []byte(serverName)}
		if err := h.SetTLVs([]proxyproto.TLV{name}); err != nil {
			return nil, fmt.Errorf("add server name to PROXY header: %w", err)
		}
	}
	header, err := h.Format()
	if err != nil {
		return nil, fmt.Errorf("write PROXY header: %w", err)
	}
	return append(b, header...), nil
}
