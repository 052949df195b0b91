package client

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	tokenHeader = "X-Consul-Token"

	// currentToken is what api.Client is told that the token is. Without one it would
	// take that of the environment, and it reads a file once only. Real ones have no
	// blanks.
	currentToken = "the current token"
)

// bearer puts the token of the time on requests.
type bearer struct {
	token *token
	next  *transport
}

func (b *bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get(tokenHeader) != currentToken {
		return b.next.RoundTrip(r) // a token for this request alone
	}
	own := r.WithContext(r.Context())
	own.Header = r.Header.Clone()
	if value, _ := b.token.current(); value != "" {
		own.Header.Set(tokenHeader, value)
	} else {
		own.Header.Del(tokenHeader)
	}
	return b.next.RoundTrip(own)
}

// CloseIdleConnections is for http.Client's method of this name.
func (b *bearer) CloseIdleConnections() {
	b.next.http1.CloseIdleConnections()
	b.next.http2.CloseIdleConnections()
}

// transport suits hundreds of queries that wait for long, all to one agent.
//
// Over plain HTTP each has a connection of its own. Over TLS an agent speaks HTTP/2
// with 250 queries to a connection; but net/http begins a connection for each query
// that finds none with room, and an agent allows 200
// (limits.http_max_conns_per_client). So there is one at a time that is begun
// or not full yet. That would be one query at a time with a server of HTTP/1.1, such as a
// proxy in front of the agent: for that there is the other transport.
type transport struct {
	http1, http2 *http.Transport
	old          atomic.Bool // what is spoken over TLS is HTTP/1.1
}

// errHTTP1 is of a handshake with a server that does not speak HTTP/2.
var errHTTP1 = errors.New("the server does not speak HTTP/2")

func newTransport(socket string, config *tls.Config) *transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	t := &transport{http1: &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialer.DialContext,
		TLSClientConfig:     config,
		TLSHandshakeTimeout: 10 * time.Second,
		// A connection is idle for a moment whenever its query was answered.
		MaxIdleConnsPerHost: 200,
		IdleConnTimeout:     90 * time.Second,
	}}
	if socket != "" {
		t.http1.Proxy = nil
		t.http1.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		}
	}
	t.http2 = t.http1.Clone()
	t.http2.ForceAttemptHTTP2 = true // or net/http does not, when TLS or dialing is not its own
	t.http2.MaxConnsPerHost = 1
	// With nothing to read for so long the agent is asked whether it is there, or a
	// host that vanished would be noticed when TCP gives up.
	t.http2.HTTP2 = &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 10 * time.Second}
	t.http2.TLSClientConfig.VerifyConnection = func(s tls.ConnectionState) error {
		if s.NegotiatedProtocol != "h2" {
			return errHTTP1
		}
		return nil
	}
	return t
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" || t.old.Load() {
		return t.http1.RoundTrip(r)
	}
	answer, err := t.http2.RoundTrip(r)
	if !errors.Is(err, errHTTP1) {
		return answer, err
	}
	t.old.Store(true)
	if r.GetBody != nil {
		again := r.WithContext(r.Context())
		if again.Body, err = r.GetBody(); err != nil {
			return nil, err
		}
		r = again
	}
	return t.http1.RoundTrip(r)
}
