package client

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sluice/userspace/config"
)

// authority signs certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	ca := &authority{key: newKey(t)}
	ca.cert = sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "CA " + rand.Text()}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}, nil, ca.key, ca.key)
	return ca
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign makes a certificate of key; a nil parent is the certificate itself.
func sign(t testing.TB, cert, parent *x509.Certificate, key, by *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	cert.SerialNumber, cert.NotBefore, cert.NotAfter = serial, time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if parent == nil {
		parent = cert
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// leaf is a certificate with this name, for DNS or as an address.
func (ca *authority) leaf(t testing.TB, name string) tls.Certificate {
	t.Helper()
	cert := &x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		cert.IPAddresses = []net.IP{ip}
	} else {
		cert.DNSNames = []string{name}
	}
	key := newKey(t)
	made := sign(t, cert, ca.cert, key, ca.key)
	return tls.Certificate{Certificate: [][]byte{made.Raw}, PrivateKey: key, Leaf: made}
}

func (ca *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// write puts the CA's certificate into a file and returns its path.
func (ca *authority) write(t testing.TB, dir string) string {
	t.Helper()
	return write(t, filepath.Join(dir, "ca.pem"), encode("CERTIFICATE", ca.cert.Raw))
}

// writeLeaf puts a leaf and its key into files.
func writeLeaf(t testing.TB, dir string, cert tls.Certificate) (certFile, keyFile string) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, filepath.Join(dir, "leaf.pem"), encode("CERTIFICATE", cert.Certificate[0])),
		write(t, filepath.Join(dir, "leaf-key.pem"), encode("PRIVATE KEY", key))
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func write(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// serveTLS is an HTTPS server with HTTP/2 and a leaf for its name; change may be nil.
func serveTLS(t testing.TB, ca *authority, name string, h http.HandlerFunc, change func(*httptest.Server)) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{ca.leaf(t, name)}, ClientCAs: ca.pool()}
	if change != nil {
		change(s)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// agent is the agent of settings that must be good.
func agent(t testing.TB, s Settings) *Agent {
	t.Helper()
	a, err := s.Agent()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.close)
	return a
}

// close closes idle connections, so that servers of tests can end.
func (a *Agent) close() {
	a.http.CloseIdleConnections()
}

// given is all that settings come from.
type given struct {
	args []string
	env  map[string]string
	file string // HCL, "" for none
}

// settings fills Settings as a command does.
func settings(t testing.TB, g given) (*Settings, error) {
	t.Helper()
	var s Settings
	fs := flag.NewFlagSet("test", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	s.Flags(fs)
	if err := fs.Parse(g.args); err != nil {
		return nil, err
	}
	path := ""
	if g.file != "" {
		path = write(t, filepath.Join(t.TempDir(), "sluice.hcl"), g.file)
	}
	return &s, config.Fill(fs, Lookup(func(name string) (string, bool) {
		v, ok := g.env[name]
		return v, ok
	}), path)
}
