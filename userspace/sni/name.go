package sni

import (
	"bytes"
	"net/netip"

	"golang.org/x/crypto/cryptobyte"
)

const (
	hostName = 0 // the only NameType there is: RFC 6066, 3

	maxName  = 253 // as text, without the trailing dot: RFC 1035, 2.3.4 has 255 in wire format
	maxLabel = 63
)

// findHost looks for the host name in the contents of a server_name extension. It
// is nil if there is none, and ok is false if the list is ill built. Names of
// other types are skipped; all of them have to begin with a 16-bit length (RFC
// 6066, 3).
func findHost(data cryptobyte.String) (host []byte, ok bool) {
	if data == nil {
		return nil, true
	}
	var list cryptobyte.String
	if !data.ReadUint16LengthPrefixed(&list) || !data.Empty() || list.Empty() {
		return nil, false
	}
	for !list.Empty() {
		var kind uint8
		var name cryptobyte.String
		if !list.ReadUint8(&kind) || !list.ReadUint16LengthPrefixed(&name) {
			return nil, false
		}
		if kind != hostName {
			continue
		}
		// RFC 6066, 3: a host name has a byte at least, and there is only one.
		if name.Empty() || host != nil {
			return nil, false
		}
		host = name
	}
	return host, true
}

// setName keeps a good host name in lower case and without its trailing dot, which
// RFC 6066, 3 does not allow but some clients send.
//
// Letters, digits, hyphens and dots make a host name; underscores are allowed as
// well, since names in a mesh are made from those of services. All else is refused
// right here: "*.example" above all, which in a table stands for other names.
func (h *Hello) setName(host []byte) Refusal {
	host = bytes.TrimSuffix(host, []byte{'.'})
	if isAddress(host) {
		return NoName // RFC 6066, 3: addresses are no host names, so none was given
	}
	if len(host) == 0 || len(host) > maxName {
		return BadHello
	}
	label := 0 // bytes in the label so far
	for i, c := range host {
		switch {
		case c == '.' && label > 0:
			label = -1
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return BadHello
		}
		if label++; label > maxLabel {
			return BadHello
		}
		h.name[i] = c
	}
	if label == 0 {
		return BadHello
	}
	h.nameLen = len(host)
	return None
}

// isAddress knows literal IPv4 and IPv6 addresses. ParseAddr allocates, so it sees
// only what cannot be an ordinary name.
func isAddress(host []byte) bool {
	if bytes.IndexByte(host, ':') < 0 && len(bytes.TrimLeft(host, ".0123456789")) > 0 {
		return false
	}
	_, err := netip.ParseAddr(string(host))
	return err == nil
}
