package sni

import (
	"bytes"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// A message is a ClientHello to be built, right or wrong. The zero value with a
// version is a legal one without extensions.
type message struct {
	kind         byte // 1 if 0
	version      uint16
	session      []byte
	suites       []byte // {0x13, 0x01} if nil
	compressions []byte // {0} if nil
	extensions   []extension
	block        []byte // if not nil, instead of extensions and their length
	tail         []byte // after all else, inside the message
	shorter      int    // taken from the length in the message header
}

type extension struct {
	kind uint16
	data []byte
}

func (m message) body() []byte {
	var b cryptobyte.Builder
	b.AddUint16(m.version)
	b.AddBytes(bytes.Repeat([]byte{0xab}, 32))
	b.AddUint8LengthPrefixed(add(m.session))
	b.AddUint16LengthPrefixed(add(or(m.suites, []byte{0x13, 0x01})))
	b.AddUint8LengthPrefixed(add(or(m.compressions, []byte{0})))
	if m.extensions != nil {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			for _, e := range m.extensions {
				b.AddUint16(e.kind)
				b.AddUint16LengthPrefixed(add(e.data))
			}
		})
	}
	b.AddBytes(m.block)
	b.AddBytes(m.tail)
	return b.BytesOrPanic()
}

// bytes is the message with its header, without records.
func (m message) bytes() []byte {
	body := m.body()
	n := len(body) - m.shorter
	return append([]byte{max(m.kind, typeHello), byte(n >> 16), byte(n >> 8), byte(n)}, body...)
}

// stream is the message in as few records as it fits in.
func (m message) stream() []byte { return records(m.bytes(), maxRecord) }

// records cuts message into records of size bytes.
func records(message []byte, size int) []byte {
	var b []byte
	for piece := range slices.Chunk(message, size) {
		b = append(b, record(piece)...)
	}
	return b
}

func record(piece []byte) []byte {
	return append([]byte{typeHandshake, 3, 1, byte(len(piece) >> 8), byte(len(piece))}, piece...)
}

// hello is a message of TLS 1.2 or 1.3 with these extensions.
func hello(e ...extension) message { return message{version: tls12, extensions: e} }

// named is the stream of a hello for host.
func named(host string) []byte { return hello(serverName(host)).stream() }

func serverName(host string) extension { return nameList(nameEntry{hostName, host}) }

type nameEntry struct {
	kind byte
	name string
}

func nameList(entries ...nameEntry) extension {
	var b cryptobyte.Builder
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, e := range entries {
			b.AddUint8(e.kind)
			b.AddUint16LengthPrefixed(add([]byte(e.name)))
		}
	})
	return extension{extServerName, b.BytesOrPanic()}
}

func alpn(protocols ...string) extension {
	var b cryptobyte.Builder
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, p := range protocols {
			b.AddUint8LengthPrefixed(add([]byte(p)))
		}
	})
	return extension{extALPN, b.BytesOrPanic()}
}

func versions(vs ...uint16) extension {
	var b cryptobyte.Builder
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, v := range vs {
			b.AddUint16(v)
		}
	})
	return extension{extSupportedVersions, b.BytesOrPanic()}
}

func add(p []byte) cryptobyte.BuilderContinuation {
	return func(b *cryptobyte.Builder) { b.AddBytes(p) }
}

func or(p, otherwise []byte) []byte {
	if p != nil {
		return p
	}
	return otherwise
}

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
