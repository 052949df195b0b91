package xds

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// serverTLS is a server's certificate, which clients trust by the pool.
func serverTLS(t testing.TB) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, pool
}

func TestTLS(t *testing.T) {
	server, pool := serverTLS(t)
	a := newAgent(t, server)
	c := start(t, a, func(s *Source) { s.TLS = &tls.Config{RootCAs: pool} })
	x, _ := a.subscribed()
	x.mesh(map[string]string{"web.x": "10.0.0.1:80"})
	c.becomes("web.x = 10.0.0.1:80", "web.x > web.x")
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grpc.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{t: t, addr: "unix://" + path, streams: make(chan *session)}
	a.serve(l)
	t.Cleanup(a.server.Stop)
	c := start(t, a, nil)
	x, _ := a.subscribed()
	x.mesh(map[string]string{"web.x": "10.0.0.1:80"})
	c.becomes("web.x = 10.0.0.1:80", "web.x > web.x")
}

// TestUsualMistakes: each is made, and told by its name.
func TestUsualMistakes(t *testing.T) {
	server, pool := serverTLS(t)
	plain, secure := newAgent(t, nil), newAgent(t, server)
	demanding := server.Clone()
	demanding.ClientAuth, demanding.ClientCAs = tls.RequireAndVerifyClientCert, pool
	mutual := newAgent(t, demanding)
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	empty := grpc.NewServer()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go empty.Serve(l)
	defer empty.Stop()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	for name, test := range map[string]struct {
		address string
		tls     *tls.Config
		want    string
	}{
		"plain text to TLS": {secure.addr, nil, "wants TLS"},
		"TLS to plain text": {plain.addr, &tls.Config{RootCAs: pool}, "speaks plain text"},
		"another CA":        {secure.addr, &tls.Config{RootCAs: x509.NewCertPool()}, "do not fit"},
		// Whether the alert or the broken connection is seen first is a race.
		"no client certificate": {mutual.addr, &tls.Config{RootCAs: pool}, "a client certificate"},
		"HTTP port":             {strings.TrimPrefix(web.URL, "http://"), nil, "not the gRPC port"},
		"other gRPC":            {l.Addr().String(), nil, "no Consul agent"},
		"nobody":                {gone.Addr().String(), nil, "not running"},
		"no socket":             {"unix://" + filepath.Join(t.TempDir(), "x"), nil, "not running"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Probe(deadline(t), Options{Address: test.address, TLS: test.tls, NodeID: "gw", Log: discard})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func TestAdvice(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string // a part of it; "" for none
	}{
		{errors.New("x"), ""},
		{errClosed, ""},
		{errStuck, "hangs"},
		{&silence{}, "does not know a gateway"},
		{&silence{clusters: true}, "no address to listen on"},
		{status.Error(codes.Unauthenticated, "unauthenticated: ACL not found"), "does not know the token"},
		{status.Error(codes.Unauthenticated, "ACL system must be bootstrapped before"), "just started"},
		{status.Error(codes.PermissionDenied, "Permission denied"), "service:write"},
		{status.Error(codes.ResourceExhausted, "too many xDS streams open"), "as many streams"},
		{status.Error(codes.ResourceExhausted, "grpc: received message larger than max"), "larger than this gateway"},
		{status.Error(codes.InvalidArgument, "x"), "does not understand"},
		{status.Error(codes.Internal, "failed to watch proxy: service must be a sidecar proxy or gateway"), "not of a mesh gateway"},
		{status.Error(codes.Internal, "x"), "its log knows more"},
		{status.Error(codes.Aborted, "x"), "token deleted"},
		{status.Error(codes.Unavailable, "failed to generate all xDS resources from the snapshot"), "its log knows more"},
		{status.Error(codes.Unavailable, "x"), ""},
		{status.Error(codes.Unknown, "x"), ""},
	} {
		if got := advice(test.err); !strings.Contains(got, test.want) || (got == "") != (test.want == "") {
			t.Errorf("%v: %q, want %q", test.err, got, test.want)
		}
	}
}
