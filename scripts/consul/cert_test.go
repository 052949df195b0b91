package consul_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/scripts/consul"
	"sluice/scripts/consul/consultest"
)

// shape is what counts of a certificate, beside whose it is.
type shape struct {
	Name     string
	DNS      []string
	IP       []string
	Usage    x509.KeyUsage
	ExtUsage []x509.ExtKeyUsage
	CA       bool
	KeyID    int
}

func shapeOf(t *testing.T, path string) shape {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("%s is no PEM", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	must(t, err)
	s := shape{
		Name: strings.TrimRight(cert.Subject.CommonName, "0123456789"), DNS: cert.DNSNames,
		Usage: cert.KeyUsage, ExtUsage: cert.ExtKeyUsage, CA: cert.IsCA, KeyID: len(cert.SubjectKeyId),
	}
	slices.Sort(s.ExtUsage) // they have no order
	for _, ip := range cert.IPAddresses {
		s.IP = append(s.IP, ip.String())
	}
	return s
}

// TestCertificates compares our certificates with those that Consul's own command
// makes.
func TestCertificates(t *testing.T) {
	binary := consultest.Need(t)
	theirs := t.TempDir()
	for _, args := range []string{
		"ca create",
		"cert create -server -dc dc2 -node srv-dc2 -additional-ipaddress 127.0.0.1",
		"cert create -client -dc dc2 -additional-ipaddress 127.0.0.1",
	} {
		cmd := exec.Command(binary, append([]string{"tls"}, strings.Fields(args)...)...)
		cmd.Dir = theirs
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("consul tls %s: %v: %s", args, err, out)
		}
	}
	ca, err := consul.NewCA()
	must(t, err)
	for _, c := range []struct {
		file     string
		noServer bool
	}{{"dc2-server-consul-0", false}, {"dc2-client-consul-0", true}} {
		o := consul.Options{Host: consul.Host{Addr: loopback}, Datacenter: "dc2", Node: "srv-dc2", NoServer: c.noServer, CA: ca}
		ours := t.TempDir()
		must(t, o.WriteConfig(ours))
		for _, file := range []string{"consul-agent-ca.pem", c.file + ".pem"} {
			if diff := cmp.Diff(shapeOf(t, filepath.Join(theirs, file)), shapeOf(t, filepath.Join(ours, file))); diff != "" {
				t.Errorf("%s (- Consul's, + ours):\n%s", file, diff)
			}
		}
		key := filepath.Join(ours, c.file+"-key.pem")
		pair, err := tls.LoadX509KeyPair(filepath.Join(ours, c.file+".pem"), key)
		must(t, err)
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: ca.Pool(), DNSName: pair.Leaf.Subject.CommonName}); err != nil {
			t.Error(err)
		}
		if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the key's file: %v, error %v", info.Mode(), err)
		}
	}
}
