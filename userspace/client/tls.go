package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
)

// tlsConfigs are how to speak TLS to the agent: to its HTTP, and to its gRPC.
func (s *Settings) tlsConfigs() (http, grpc *tls.Config, err error) {
	base := &tls.Config{
		InsecureSkipVerify: s.SkipVerify,
		ServerName:         s.TLSServerName,
	}
	// api.SetupTLSConfig in Consul's source takes an address for a name, too.
	if host, _, err := net.SplitHostPort(s.TLSServerName); err == nil {
		base.ServerName = host
	}
	if base.GetClientCertificate, err = s.clientCertificate(); err != nil {
		return nil, nil, err
	}
	http, grpc = base.Clone(), base.Clone()
	if http.RootCAs, err = readCAs("ca", s.CAFile, s.CAPath); err != nil {
		return nil, nil, err
	}
	if grpc.RootCAs, err = readCAs("grpc-ca", s.GRPCCAFile, s.GRPCCAPath); err != nil {
		return nil, nil, err
	}
	if grpc.RootCAs == nil {
		grpc.RootCAs = http.RootCAs
	}
	return http, grpc, nil
}

// readCAs reads the CAs of the settings prefix-file and, if that is empty,
// prefix-path. It is nil if both are.
func readCAs(prefix, file, dir string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	switch {
	case file != "":
		if err := addCAs(pool, file); err != nil {
			return nil, fmt.Errorf("%s-file %s: %w", prefix, file, err)
		}
	case dir != "":
		if err := addCADir(pool, dir); err != nil {
			return nil, fmt.Errorf("%s-path %s: %w", prefix, dir, err)
		}
	default:
		return nil, nil
	}
	return pool, nil
}

func addCAs(pool *x509.CertPool, file string) error {
	pem, err := os.ReadFile(file)
	if err != nil {
		return cause(err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return errors.New("has no certificate in PEM")
	}
	return nil
}

// addCADir reads all files under a directory. Each must have a certificate.
func addCADir(pool *x509.CertPool, dir string) error {
	found := false
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return cause(err)
		}
		// Of the target: Kubernetes mounts files as links, beside a link to their
		// directory.
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, cause(err))
		}
		if info.IsDir() {
			return nil
		}
		if err := addCAs(pool, path); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		found = true
		return nil
	})
	if err == nil && !found {
		return errors.New("has no files")
	}
	return err
}

// clientCertificate is tls.Config.GetClientCertificate for the settings, nil
// without them. Each handshake reads the files, so that certificates may be
// replaced while they are in use; files that are not good then are passed over for
// the last that were.
func (s *Settings) clientCertificate() (func(*tls.CertificateRequestInfo) (*tls.Certificate, error), error) {
	switch {
	case s.ClientCert == "" && s.ClientKey == "":
		return nil, nil
	case s.ClientKey == "":
		return nil, errors.New("client-key: is needed with client-cert")
	case s.ClientCert == "":
		return nil, errors.New("client-cert: is needed with client-key")
	}
	first, err := tls.LoadX509KeyPair(s.ClientCert, s.ClientKey)
	if err != nil {
		return nil, fmt.Errorf("client-cert %s with client-key %s: %w", s.ClientCert, s.ClientKey, err)
	}
	var last atomic.Pointer[tls.Certificate]
	last.Store(&first)
	certFile, keyFile := s.ClientCert, s.ClientKey
	return func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if now, err := tls.LoadX509KeyPair(certFile, keyFile); err == nil {
			last.Store(&now)
		}
		if cert := last.Load(); info.SupportsCertificate(cert) == nil {
			return cert, nil
		}
		// None, for an agent that asks for one of another CA and may do without.
		return new(tls.Certificate), nil
	}, nil
}
