package sni

import "golang.org/x/crypto/cryptobyte"

const (
	extServerName        = 0
	extALPN              = 16
	extSupportedVersions = 43

	tls10 = 0x0301
	tls12 = 0x0303

	maxSessionID = 32
	maxProtocol  = 255
)

// extensions are the contents of those that the gateway reads; nil if not sent.
type extensions struct {
	serverName, alpn, versions cryptobyte.String
}

// read takes what is wanted from body, a ClientHello without its message header.
// A hello bad in several ways is refused for how it is built before its version,
// and for its version before its name.
func (h *Hello) read(body cryptobyte.String) Refusal {
	var session, suites, compressions cryptobyte.String
	if !body.ReadUint16(&h.Version) {
		return BadHello
	}
	if h.Version < tls10 {
		return BadVersion // D.5, whatever supported_versions says
	}
	if !body.Skip(32) || // random
		!body.ReadUint8LengthPrefixed(&session) || len(session) > maxSessionID ||
		!body.ReadUint16LengthPrefixed(&suites) || len(suites) == 0 || len(suites)%2 != 0 ||
		!body.ReadUint8LengthPrefixed(&compressions) || len(compressions) == 0 {
		return BadHello
	}
	// Until TLS 1.3, a hello without extensions may end here (RFC 5246, 7.4.1.2).
	var ext extensions
	if !body.Empty() && !ext.find(body) {
		return BadHello
	}
	if !h.readVersions(ext.versions) || !h.readALPN(ext.alpn) {
		return BadHello
	}
	host, ok := findHost(ext.serverName)
	switch {
	case !ok:
		return BadHello
	case h.Version < tls10:
		return BadVersion
	case host == nil:
		return NoName
	}
	return h.setName(host)
}

// find looks through block, which ends the hello. It is false if the block is ill
// built, or one of the extensions of interest is in it twice.
//
// 4.2 forbids to send any extension twice. Here only that matters which could have
// the server read another name than the gateway does; the rest is its to judge.
func (e *extensions) find(block cryptobyte.String) bool {
	var list cryptobyte.String
	if !block.ReadUint16LengthPrefixed(&list) || !block.Empty() {
		return false
	}
	for !list.Empty() {
		var kind uint16
		var data cryptobyte.String
		if !list.ReadUint16(&kind) || !list.ReadUint16LengthPrefixed(&data) {
			return false
		}
		var found *cryptobyte.String
		switch kind {
		case extServerName:
			found = &e.serverName
		case extALPN:
			found = &e.alpn
		case extSupportedVersions:
			found = &e.versions
		default: // unknown, or GREASE (RFC 8701)
			continue
		}
		if *found != nil {
			return false
		}
		*found = data
	}
	return true
}

// readVersions sets h.Version to the highest one offered: by supported_versions,
// or without it by legacy_version, which cannot mean more than TLS 1.2 (4.2.1).
// Of the list only 0x03xx are versions of TLS; others are GREASE and drafts.
func (h *Hello) readVersions(data cryptobyte.String) bool {
	if data == nil {
		h.Version = min(h.Version, tls12)
		return true
	}
	var list cryptobyte.String
	if !data.ReadUint8LengthPrefixed(&list) || !data.Empty() || list.Empty() {
		return false
	}
	h.Version = 0
	for !list.Empty() {
		var v uint16
		if !list.ReadUint16(&v) {
			return false
		}
		if v>>8 == majorVersion {
			h.Version = max(h.Version, v)
		}
	}
	return true
}

// readALPN keeps the first protocol offered that is not GREASE (RFC 7301, 3.1).
func (h *Hello) readALPN(data cryptobyte.String) bool {
	if data == nil {
		return true
	}
	var list cryptobyte.String
	if !data.ReadUint16LengthPrefixed(&list) || !data.Empty() || list.Empty() {
		return false
	}
	for !list.Empty() {
		var protocol cryptobyte.String
		if !list.ReadUint8LengthPrefixed(&protocol) || protocol.Empty() {
			return false
		}
		if h.alpnLen == 0 && !greaseProtocol(protocol) {
			h.alpnLen = copy(h.alpn[:], protocol)
		}
	}
	return true
}

// greaseProtocol knows the 16 names that stand for no protocol: {0x0A, 0x0A},
// {0x1A, 0x1A} and so on (RFC 8701, 2).
func greaseProtocol(p []byte) bool {
	return len(p) == 2 && p[0] == p[1] && p[0]&0x0f == 0x0a
}
