package pki_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"sluice/scripts/lab/pki"
)

func newCA(t *testing.T) *pki.CA {
	t.Helper()
	ca, err := pki.New()
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func newLeaf(t *testing.T, ca *pki.CA, service, dc string) *pki.Leaf {
	t.Helper()
	leaf, err := ca.Leaf(service, dc)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// TestShape holds the certificates against what Consul's built-in CA issues.
func TestShape(t *testing.T) {
	ca := newCA(t)
	leaf := newLeaf(t, ca, "api", "dc2")
	td := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\.consul$`)
	if !td.MatchString(ca.TrustDomain) {
		t.Errorf("trust domain %q", ca.TrustDomain)
	}
	for _, c := range []struct{ what, got, want string }{
		{"root URI", ca.Cert.URIs[0].String(), "spiffe://" + ca.TrustDomain},
		{"leaf URI", leaf.URI(), "spiffe://" + ca.TrustDomain + "/ns/default/dc/dc2/svc/api"},
		{"SNI", leaf.SNI(), "api.default.dc2.internal." + ca.TrustDomain},
		{"leaf DNS name", strings.Join(leaf.Cert.DNSNames, ","), leaf.SNI()},
		{"leaf subject", leaf.Cert.Subject.String(), ""},
		{"leaf issuer", leaf.Cert.Issuer.String(), ca.Cert.Subject.String()},
	} {
		if c.got != c.want {
			t.Errorf("%s is %q, want %q", c.what, c.got, c.want)
		}
	}
	cn := regexp.MustCompile(`^pri-[a-z0-9]{8}\.consul\.ca\.[0-9a-f]{8}\.consul$`)
	if got := ca.Cert.Subject.CommonName; !cn.MatchString(got) || !strings.Contains(got, ca.TrustDomain[:8]) {
		t.Errorf("root's common name %q", got)
	}
	for _, cert := range []*x509.Certificate{ca.Cert, leaf.Cert} {
		if key, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
			t.Errorf("%s: the key is not an ECDSA one on P-256", cert.URIs[0])
		}
	}
	if leaf.Cert.IsCA || !ca.Cert.IsCA {
		t.Errorf("CA: leaf %v, root %v", leaf.Cert.IsCA, ca.Cert.IsCA)
	}
	if other := newCA(t); other.TrustDomain == ca.TrustDomain {
		t.Error("two roots have one trust domain")
	}
}

func TestLeafNames(t *testing.T) {
	ca := newCA(t)
	for _, bad := range []string{"", "Api", "a.b", "a/b", "-a", "a-", strings.Repeat("a", 64), "a\n"} {
		if _, err := ca.Leaf(bad, "dc1"); err == nil {
			t.Errorf("service %q: no error", bad)
		}
		if _, err := ca.Leaf("api", bad); err == nil {
			t.Errorf("datacenter %q: no error", bad)
		}
	}
}

// TestHandshake has two services of the mesh meet, and a stranger.
func TestHandshake(t *testing.T) {
	ca := newCA(t)
	api, web := newLeaf(t, ca, "api", "dc2"), newLeaf(t, ca, "web", "dc1")
	stranger := newLeaf(t, newCA(t), "web", "dc1")
	for _, c := range []struct {
		name   string
		client *tls.Config
		ok     bool
	}{
		{"mesh", web.ClientTLS(api.SNI()), true},
		{"another name", web.ClientTLS(web.SNI()), false},
		{"another trust domain", stranger.ClientTLS(api.SNI()), false},
		{"no certificate", &tls.Config{RootCAs: web.ClientTLS("").RootCAs, ServerName: api.SNI()}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, server := handshake(t, c.client, api.ServerTLS())
			if err := errors.Join(client.err, server.err); (err == nil) != c.ok {
				t.Fatalf("handshake: %v, want ok %v", err, c.ok)
			}
			if !c.ok {
				return
			}
			if got := server.state.PeerCertificates[0].URIs[0].String(); got != web.URI() {
				t.Errorf("the server sees %s, want %s", got, web.URI())
			}
			if got := client.state.PeerCertificates[0].URIs[0].String(); got != api.URI() {
				t.Errorf("the client sees %s, want %s", got, api.URI())
			}
		})
	}
}

type side struct {
	state tls.ConnectionState
	err   error
}

func handshake(t *testing.T, client, server *tls.Config) (c, s side) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	done := make(chan side, 1)
	go func() {
		raw, err := ln.Accept()
		if err != nil {
			done <- side{err: err}
			return
		}
		defer raw.Close()
		raw.SetDeadline(time.Now().Add(10 * time.Second))
		conn := tls.Server(raw, server)
		err = conn.Handshake()
		if err == nil {
			_, err = conn.Write([]byte("x"))
		}
		done <- side{conn.ConnectionState(), err}
	}()
	raw, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	raw.SetDeadline(time.Now().Add(10 * time.Second))
	conn := tls.Client(raw, client)
	c.err = conn.Handshake()
	if c.err == nil { // with TLS 1.3 a refused client learns of it when it reads
		_, c.err = io.ReadFull(conn, make([]byte, 1))
	}
	c.state = conn.ConnectionState()
	raw.Close()
	return c, <-done
}

// TestOpenSSL has another implementation judge the files.
func TestOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("openssl is not installed, and CI=true allows no skipping")
		}
		t.Skip("openssl is not installed")
	}
	dir := t.TempDir()
	ca := newCA(t)
	root, err := ca.Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	leaf := newLeaf(t, ca, "api", "dc2")
	cert, key, err := leaf.Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, purpose := range []string{"sslserver", "sslclient"} {
		out, err := exec.Command(openssl, "verify", "-x509_strict", "-purpose", purpose,
			"-verify_hostname", leaf.SNI(), "-CAfile", root, cert).CombinedOutput()
		if err != nil {
			t.Errorf("openssl verify as %s: %v: %s", purpose, err, out)
		}
	}
	out, err := exec.Command(openssl, "x509", "-in", cert, "-noout", "-ext", "subjectAltName").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "URI:"+leaf.URI()) {
		t.Errorf("openssl x509: %v: %s", err, out)
	}
	if out, err := exec.Command(openssl, "ec", "-in", key, "-check", "-noout").CombinedOutput(); err != nil {
		t.Errorf("openssl ec: %v: %s", err, out)
	}
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode is %v, %v; want 0600", info.Mode(), err)
	}
	if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
		t.Error(err)
	}
	if _, err := ca.Write(dir + "/absent"); err == nil {
		t.Error("write into a directory that is not there: no error")
	}
	if _, _, err := leaf.Write(dir + "/absent"); err == nil {
		t.Error("write into a directory that is not there: no error")
	}
}
