package sni

// Refusal is why a client is not let through by what it said first.
type Refusal uint8

// The refusals.
const (
	None       Refusal = iota
	NotTLS             // another protocol
	BadHello           // TLS, but not a ClientHello as the RFCs have it, or with an impossible name
	BadVersion         // a hello of SSL 2.0 format, or for nothing better than SSL 3.0
	TooLarge           // the hello takes up more than the limit, or a record more than TLS allows
	NoName             // no server name, or an IP address in place of one
)

// String is the refusal as logs and metrics have it.
func (r Refusal) String() string {
	switch r {
	case None:
		return "none"
	case NotTLS:
		return "not_tls"
	case BadHello:
		return "bad_hello"
	case BadVersion:
		return "bad_version"
	case TooLarge:
		return "hello_too_large"
	case NoName:
		return "no_server_name"
	}
	return "unknown"
}

// The codes of TLS alerts that a gateway has a use for (6.2).
const (
	AlertRecordOverflow   byte = 22
	AlertHandshakeFailure byte = 40
	AlertAccessDenied     byte = 49
	AlertDecodeError      byte = 50
	AlertProtocolVersion  byte = 70
	AlertInternalError    byte = 80
	AlertMissingExtension byte = 109
	AlertUnrecognizedName byte = 112
)

// Alert is the code of the alert that tells the client of the refusal; ok is false
// where there is nobody to understand it.
func (r Refusal) Alert() (code byte, ok bool) {
	switch r {
	case BadHello:
		// 6.2: a field out of its range, or a wrong length. For a message of the
		// wrong kind unexpected_message would say it better, but no client that
		// sends one goes by the difference.
		return AlertDecodeError, true
	case BadVersion:
		// Clients that send the SSL 2.0 format to offer TLS know alerts, and the
		// common servers answer them so too.
		return AlertProtocolVersion, true
	case TooLarge:
		// 5.1 asks for it if a record is too long. TLS has no alert for a message
		// over a server's limit; this one at least tells what to look for.
		return AlertRecordOverflow, true
	case NoName:
		// 9.2: what a server that requires server_name should send. (RFC 6066, 3
		// has unrecognized_name for a name that is there but unknown.)
		return AlertMissingExtension, true
	}
	return 0, false
}

// AppendAlert adds a record with the fatal alert code to dst, seven bytes. Its
// version is TLS 1.0's, as servers write it before they settle on one; clients do
// not go by it then (5.1).
func AppendAlert(dst []byte, code byte) []byte {
	const (
		typeAlert = 21
		fatal     = 2
	)
	return append(dst, typeAlert, majorVersion, 1, 0, 2, fatal, code)
}
