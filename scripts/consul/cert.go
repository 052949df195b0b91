package consul

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

const (
	caFile     = "consul-agent-ca.pem"
	agentCerts = 365 * 24 * time.Hour // the life of "consul tls ... create"
)

// CA signs the certificates with which agents know each other. It is not the
// mesh's CA, which the servers have inside.
//
// The certificates have the shape that "consul tls ca create" and "consul tls cert
// create" give (tlsutil/generate.go in Consul's source): the name of a server is
// "server.DC.consul", by which verify_server_hostname tells a server from a client,
// and "NODE.server.DC.consul", by which federation through mesh gateways reaches it.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes a CA for a cluster's agents.
func NewCA() (*CA, error) {
	number := serial()
	template := &x509.Certificate{
		SerialNumber: number,
		Subject: pkix.Name{
			Country: []string{"US"}, Organization: []string{"HashiCorp Inc."},
			CommonName: fmt.Sprintf("Consul Agent CA %d", number),
		},
		IsCA:     true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
	ca := &CA{}
	var err error
	if ca.cert, ca.key, err = ca.sign(template); err != nil {
		return nil, fmt.Errorf("make the agents' CA: %w", err)
	}
	return ca, nil
}

// Write puts the CA's certificate into dir and returns its path.
func (ca *CA) Write(dir string) (string, error) {
	path := filepath.Join(dir, caFile)
	return path, writePEM(path, "CERTIFICATE", ca.cert.Raw, 0o644)
}

// Pool is the CA's certificate, to verify agents with.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// agent writes a certificate for a server, or with role "client" for an agent
// that is none, and its key into dir, and returns their paths. It has the agent's
// address beside the names, for those who reach its HTTPS and gRPC by that.
func (ca *CA) agent(dir, role, dc, node string, addr netip.Addr) (cert, key string, err error) {
	name := fmt.Sprintf("%s.%s.consul", role, dc)
	names := []string{name, "localhost"}
	if role == "server" {
		names = append([]string{node + "." + name}, names...)
	}
	leaf, private, err := ca.sign(&x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: name},
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:     names,
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), addr.AsSlice()},
	})
	if err != nil {
		return "", "", fmt.Errorf("make %s's certificate: %w", node, err)
	}
	der, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		return "", "", fmt.Errorf("encode %s's key: %w", node, err)
	}
	base := filepath.Join(dir, fmt.Sprintf("%s-%s-consul-0", dc, role))
	if err := writePEM(base+".pem", "CERTIFICATE", leaf.Raw, 0o644); err != nil {
		return "", "", err
	}
	return base + ".pem", base + "-key.pem", writePEM(base+"-key.pem", "EC PRIVATE KEY", der, 0o600)
}

// sign makes a key and the certificate for it, which is its own parent when there
// is none yet.
func (ca *CA) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, nil, err
	}
	id := sha256.Sum256(public)
	template.SubjectKeyId = id[:]
	template.BasicConstraintsValid = true
	template.NotBefore = time.Now().Add(-time.Minute)
	template.NotAfter = time.Now().Add(agentCerts)

	parent, signer := ca.cert, ca.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}

// serial is a random positive number of 127 bits.
func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b[:])
}

func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}
