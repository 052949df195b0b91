// Package sni reads what a gateway may know of a TLS connection that it does not
// decrypt: the ClientHello, and in it the server name.
//
// The gateway peeks at what a client has sent (MSG_PEEK, so that the bytes stay
// in the kernel) and calls Hello.Parse with all of it, from the first byte. Parse
// answers one of three things: so many bytes are needed before it is worth
// looking again; the hello is whole, and here is its name; or the client is
// refused, and this is why. Nothing is kept from one call to the next, so a slow
// client costs a gateway no memory. What is needed is always all that the hello
// must still have, never just another byte. That keeps the calls few: even a
// client that puts every byte in a record and a segment of its own gets its hello
// looked at a few dozen times, not thousands.
//
// A hello is seen in three layers, and each has its file. Here it is found in the
// stream: TLS records, however the client cut the message into them. fields.go
// reads the message and the three extensions of interest. name.go says which
// server names are good enough to be looked up. What else the client sends is
// the business of the server that it will reach: Sluice refuses where it could
// not tell for sure what that server would read, and is no judge beyond that.
// With Encrypted Client Hello (extension 0xfe0d) the name is the outer one, as it
// is for anybody on the way.
//
// Section numbers are those of RFC 8446 (TLS 1.3) unless they name another RFC.
package sni

// What a hello may take up of the stream, in bytes. One with a post-quantum key
// share has some 1,800; session tickets can make it several times that.
const (
	DefaultMax = 16 << 10
	LargestMax = 64 << 10
)

const (
	recordHeader  = 5       // type, legacy_record_version, length: 5.1
	maxRecord     = 1 << 14 // plaintext bytes in a record: 5.1
	messageHeader = 4       // msg_type, 24-bit length: 4
	typeHandshake = 22
	typeHello     = 1
	majorVersion  = 3 // every TLS says 3.something on its records
)

// Hello is what the gateway takes from a ClientHello. Reuse it: Parse overwrites
// all of it, and it holds the scratch space in which records are joined.
//
// After a refusal it has what was read up to there, for the log; a name is in it
// only if it is a good one.
type Hello struct {
	Version uint16 // highest version offered, such as 0x0304; 0 if none was read
	Len     int    // bytes that the hello's records take up; what follows them belongs to the stream

	name    [maxName]byte
	nameLen int
	alpn    [maxProtocol]byte
	alpnLen int
	joined  []byte // the message, when it came in several records
}

// Name is the server name: lower case, without a trailing dot. It is valid until
// the next Parse, whatever becomes of the bytes parsed.
func (h *Hello) Name() []byte { return h.name[:h.nameLen] }

// ALPN is the first protocol offered, empty if there is none. It is whatever the
// client says, not always text, and valid until the next Parse.
func (h *Hello) ALPN() []byte { return h.alpn[:h.alpnLen] }

// Parse reads b, which is all that the client has sent so far, and leaves it as
// it is. No more than limit bytes of the stream, record headers included, may
// belong to the hello.
//
// need > 0: the hello is not whole, and cannot be with fewer than need bytes in
// total: len(b) < need <= limit. That suits SO_RCVLOWAT.
//
// r != None: stop; more bytes would not change it. The framing is judged as soon
// as its bytes are there, a length even by its first byte; the message itself
// once it is whole.
//
// Otherwise the hello is whole and good, and Name is not empty.
func (h *Hello) Parse(b []byte, limit int) (need int, r Refusal) {
	h.Version, h.Len, h.nameLen, h.alpnLen = 0, 0, 0, 0
	if len(b) > 0 && b[0] != typeHandshake {
		need, r = notTLS(b)
	} else {
		h.Len, need, r = find(b, limit)
	}
	switch {
	case r != None:
		return 0, r
	case need > limit:
		return 0, TooLarge
	case need > 0:
		return need, None
	}
	message := h.join(b[:h.Len])
	return 0, h.read(message[messageHeader:])
}

// notTLS tells whether b, whose first byte begins no handshake record, is a hello
// in the format of SSL 2.0: a length of two bytes with the top bit set, the type,
// and the version that the client would like, 0x0002 or 0x03xx (RFC 5246, E.2).
// TLS must not be negotiated by it any more (RFC 6176; D.5).
func notTLS(b []byte) (need int, r Refusal) {
	switch {
	case b[0]&0x80 == 0,
		len(b) > 2 && b[2] != typeHello,
		len(b) > 3 && b[3] != 0 && b[3] != majorVersion,
		len(b) > 4 && b[3] == 0 && b[4] != 2:
		return 0, NotTLS
	case len(b) < 5:
		return 5, None
	}
	return 0, BadVersion
}

// find walks the records of b until the hello in them is whole; size is then what
// they take up. Else it gives need or a refusal, as Parse does.
//
// Bytes of a header that have not arrived read as zeros. So a length cut short is
// the least that it can turn out to be, and what is decided by it stands.
func find(b []byte, limit int) (size, need int, r Refusal) {
	var head [messageHeader]byte
	have := 0          // bytes of the message in the records before this one
	total := len(head) // the least that the message can be long
	for {
		at := size
		var record [recordHeader]byte
		seen := copy(record[:], b[at:])
		n := int(record[3])<<8 | int(record[4])
		size = at + recordHeader + n
		if r := checkRecord(record[:seen], at == 0); r != None {
			return 0, 0, r
		}
		// If the message should turn out to end before its record, it would be
		// refused for that; so all of the record has to fit.
		if n > maxRecord || size > limit {
			return 0, 0, TooLarge
		}
		if seen < recordHeader {
			return 0, leastEnd(at, max(n, total-have)), None
		}

		piece := b[at+recordHeader : min(size, len(b))]
		if have < len(head) {
			copy(head[have:], piece)
			total = len(head) + int(head[1])<<16 + int(head[2])<<8 + int(head[3])
		}
		known := have + len(piece)
		if known > 0 && head[0] != typeHello {
			return 0, 0, BadHello
		}
		// 5.1: a ClientHello ends where its record does. (Nothing could follow it
		// before TLS 1.3 either: the client has to hear from the server first.)
		if known >= len(head) && have+n > total {
			return 0, 0, BadHello
		}
		have += n
		switch least := leastEnd(size, total-have); {
		case least > limit:
			return 0, 0, TooLarge
		case size > len(b):
			return 0, least, None
		case have == total:
			return size, 0, None
		}
	}
}

// checkRecord judges what has arrived of a record's header, its length apart.
func checkRecord(header []byte, first bool) Refusal {
	switch {
	case len(header) > 0 && header[0] != typeHandshake:
		// 5.1: nothing may come between the pieces of a handshake message.
		return BadHello
	case len(header) > 1 && header[1] != majorVersion:
		// A hello's records may say {3, anything} (RFC 5246, E.1). 5.1 would have
		// the field ignored, but then much that is not TLS would pass for it.
		if first {
			return NotTLS
		}
		return BadHello
	case len(header) == recordHeader && header[3] == 0 && header[4] == 0:
		// 5.1: no fragments of length zero for handshake messages.
		return BadHello
	}
	return None
}

// leastEnd is where rest bytes of a message can end that go on in a new record at
// offset at of the stream.
func leastEnd(at, rest int) int {
	if rest <= 0 {
		return at
	}
	records := (rest + maxRecord - 1) / maxRecord
	return at + records*recordHeader + rest
}

// join gives the message in records that find found whole. One in a single record,
// as most are, stays where it is.
func (h *Hello) join(records []byte) []byte {
	h.joined = h.joined[:0]
	for {
		n := int(records[3])<<8 | int(records[4])
		piece := records[recordHeader : recordHeader+n]
		records = records[recordHeader+n:]
		if len(records) == 0 && len(h.joined) == 0 {
			return piece
		}
		h.joined = append(h.joined, piece...)
		if len(records) == 0 {
			return h.joined
		}
	}
}
