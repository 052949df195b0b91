// Package pki makes certificates in the shape of those of Consul's service mesh,
// for the demo and the tests: a root for a trust domain, and leaves for services.
//
// The shape is that of Consul's built-in CA (agent/connect in its source):
//   - a trust domain is "<uuid>.consul"; the root has the URI "spiffe://<trust
//     domain>" and the common name "pri-<random>.consul.ca.<8 of the uuid>.consul";
//   - a leaf has no subject; its name is the URI
//     "spiffe://<trust domain>/ns/default/dc/<dc>/svc/<service>", and its extended
//     key usages are those of a client and of a server, for it is used as both;
//   - keys are ECDSA on P-256.
//
// A sidecar checks its peer by the URI alone. Clients outside of the mesh, such as
// curl, check a DNS name, which Consul gives a service's leaf only when told to:
// here every leaf has its own SNI as one.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

const (
	leafLife = 72 * time.Hour            // Consul's default leaf_cert_ttl
	rootLife = 10 * 365 * 24 * time.Hour // and root_cert_ttl
)

// CA is the root of a trust domain.
type CA struct {
	TrustDomain string // "<uuid>.consul"
	Cert        *x509.Certificate

	key *ecdsa.PrivateKey
}

// Leaf is a service's certificate with its key.
type Leaf struct {
	Service, Datacenter string
	Cert                *x509.Certificate

	key *ecdsa.PrivateKey
	ca  *CA
}

// New makes a root for a new trust domain.
func New() (*CA, error) {
	id := uuid()
	domain := id + ".consul"
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate the root's key: %w", err)
	}
	keyID, err := hashKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("pri-%s.consul.ca.%s.consul", strings.ToLower(rand.Text()[:8]), id[:8])
	now := time.Now()
	cert, err := sign(&x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: name},
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: domain}},
		BasicConstraintsValid: true,
		IsCA:                  true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		NotBefore:             now.Add(-time.Minute),
		NotAfter:              now.Add(rootLife),
		SubjectKeyId:          keyID,
		AuthorityKeyId:        keyID,
	}, nil, key, key)
	if err != nil {
		return nil, fmt.Errorf("sign the root: %w", err)
	}
	return &CA{TrustDomain: domain, Cert: cert, key: key}, nil
}

// SNI is the server name by which the mesh calls a service of a datacenter:
// "<service>.default.<dc>.internal.<trust domain>".
func (ca *CA) SNI(service, dc string) string {
	return fmt.Sprintf("%s.default.%s.internal.%s", service, dc, ca.TrustDomain)
}

var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Leaf makes a certificate for a service of a datacenter. Both must be DNS labels,
// in lower case.
func (ca *CA) Leaf(service, dc string) (*Leaf, error) {
	for _, name := range []string{service, dc} {
		if !label.MatchString(name) {
			return nil, fmt.Errorf("leaf for service %q of datacenter %q: want lower-case DNS labels", service, dc)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate %s's key: %w", service, err)
	}
	keyID, err := hashKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	path := fmt.Sprintf("/ns/default/dc/%s/svc/%s", dc, service)
	now := time.Now()
	cert, err := sign(&x509.Certificate{
		SerialNumber:          serial(),
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: ca.TrustDomain, Path: path}},
		DNSNames:              []string{ca.SNI(service, dc)},
		BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDataEncipherment | x509.KeyUsageKeyAgreement |
			x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		NotBefore:    now.Add(-time.Minute), // for clocks a little behind, as Consul does
		NotAfter:     now.Add(leafLife),
		SubjectKeyId: keyID,
	}, ca.Cert, key, ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign %s's leaf: %w", service, err)
	}
	return &Leaf{Service: service, Datacenter: dc, Cert: cert, key: key, ca: ca}, nil
}

// sign has by certify that of is what the template says; without a parent the
// certificate is its own.
func sign(template, parent *x509.Certificate, of, by *ecdsa.PrivateKey) (*x509.Certificate, error) {
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &of.PublicKey, by)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// Write puts the root's certificate into dir as ca.pem and returns its path.
func (ca *CA) Write(dir string) (string, error) {
	path := filepath.Join(dir, "ca.pem")
	return path, writePEM(path, "CERTIFICATE", ca.Cert.Raw, 0o644)
}

// Write puts the leaf into dir as <service>.pem and <service>-key.pem, the key
// readable by its owner alone, and returns their paths.
func (l *Leaf) Write(dir string) (cert, key string, err error) {
	cert = filepath.Join(dir, l.Service+".pem")
	key = filepath.Join(dir, l.Service+"-key.pem")
	if err := writePEM(cert, "CERTIFICATE", l.Cert.Raw, 0o644); err != nil {
		return "", "", err
	}
	der, err := x509.MarshalECPrivateKey(l.key)
	if err != nil {
		return "", "", fmt.Errorf("encode %s's key: %w", l.Service, err)
	}
	return cert, key, writePEM(key, "EC PRIVATE KEY", der, 0o600)
}

func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}

// URI is the leaf's name in the mesh.
func (l *Leaf) URI() string { return l.Cert.URIs[0].String() }

// SNI is the server name that leads to the leaf's service.
func (l *Leaf) SNI() string { return l.ca.SNI(l.Service, l.Datacenter) }

// ServerTLS is a configuration with which the leaf's service accepts clients of
// the same trust domain and no others.
func (l *Leaf) ServerTLS() *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{l.pair()},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    l.ca.pool(),
	}
}

// ClientTLS is a configuration with which the leaf's service calls the server of
// that name.
func (l *Leaf) ClientTLS(sni string) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{l.pair()},
		RootCAs:      l.ca.pool(),
		ServerName:   sni,
	}
}

func (l *Leaf) pair() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{l.Cert.Raw}, PrivateKey: l.key, Leaf: l.Cert}
}

func (ca *CA) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	return pool
}

// uuid is a random one (RFC 9562, version 4).
func uuid() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// serial is a random positive number of 63 bits.
func serial() *big.Int {
	var b [8]byte
	rand.Read(b[:]) // never fails
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b[:])
}

// hashKey makes a key's identifier, as Consul does.
func hashKey(key *ecdsa.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return sum[:], nil
}
