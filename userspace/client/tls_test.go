package client

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// whoAmI answers with the name of the client's certificate.
func whoAmI(w http.ResponseWriter, r *http.Request) {
	name := "nobody"
	if certs := r.TLS.PeerCertificates; len(certs) > 0 {
		name = certs[0].Subject.CommonName
	}
	fmt.Fprintf(w, "%q", name)
}

func TestServerCertificates(t *testing.T) {
	dir := t.TempDir()
	ca, other := newAuthority(t), newAuthority(t)
	caFile := ca.write(t, dir)
	otherFile := other.write(t, t.TempDir())
	// As Kubernetes mounts secrets.
	mount := t.TempDir()
	if err := os.Mkdir(filepath.Join(mount, "..2026"), 0o755); err != nil {
		t.Fatal(err)
	}
	ca.write(t, filepath.Join(mount, "..2026"))
	for link, to := range map[string]string{"..data": "..2026", "ca.pem": "..data/ca.pem"} {
		if err := os.Symlink(to, filepath.Join(mount, link)); err != nil {
			t.Fatal(err)
		}
	}
	local := serveTLS(t, ca, "127.0.0.1", whoAmI, nil).URL
	named := serveTLS(t, ca, "server.dc1.consul", whoAmI, nil).URL
	for _, test := range []struct {
		name string
		set  Settings
		want string // in the error
	}{
		{"CA file", Settings{HTTPAddr: local, CAFile: caFile}, ""},
		{"CA path", Settings{HTTPAddr: local, CAPath: dir}, ""},
		{"CA path with links", Settings{HTTPAddr: local, CAPath: mount}, ""},
		{"CA file before path", Settings{HTTPAddr: local, CAFile: otherFile, CAPath: dir}, "unknown authority"},
		{"https by setting", Settings{HTTPAddr: strings.TrimPrefix(local, "https://"), SSL: true, CAFile: caFile}, ""},
		{"not https", Settings{HTTPAddr: strings.TrimPrefix(local, "https://"), CAFile: caFile}, "HTTPS server"},
		{"system's CAs", Settings{HTTPAddr: local}, "unknown authority"},
		{"another CA", Settings{HTTPAddr: local, CAFile: otherFile}, "unknown authority"},
		{"not verified", Settings{HTTPAddr: local, SkipVerify: true}, ""},
		{"another name", Settings{HTTPAddr: named, CAFile: caFile}, "doesn't contain any IP SANs"},
		{"name by setting", Settings{HTTPAddr: named, CAFile: caFile, TLSServerName: "server.dc1.consul"}, ""},
		{"name with port", Settings{HTTPAddr: named, CAFile: caFile, TLSServerName: "server.dc1.consul:8501"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := agent(t, test.set).API().Status().Leader()
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestClientCertificate(t *testing.T) {
	dir := t.TempDir()
	ca, other := newAuthority(t), newAuthority(t)
	must := serveTLS(t, ca, "127.0.0.1", whoAmI, func(s *httptest.Server) { s.TLS.ClientAuth = tls.RequireAndVerifyClientCert })
	may := serveTLS(t, ca, "127.0.0.1", whoAmI, func(s *httptest.Server) { s.TLS.ClientAuth = tls.VerifyClientCertIfGiven })

	who := func(a *Agent) string {
		a.close() // a certificate is shown to a new connection
		name, err := a.API().Status().Leader()
		if err != nil {
			return err.Error()
		}
		return name
	}
	caFile := ca.write(t, dir)
	// The server's alert says why, unless the request was quicker.
	if name, err := agent(t, Settings{HTTPAddr: must.URL, CAFile: caFile}).API().Status().Leader(); err == nil {
		t.Errorf("without a certificate: %s", name)
	}
	certFile, keyFile := writeLeaf(t, dir, ca.leaf(t, "first"))
	set := Settings{HTTPAddr: must.URL, CAFile: caFile, ClientCert: certFile, ClientKey: keyFile}
	a := agent(t, set)
	if got := who(a); got != "first" {
		t.Errorf("got %s", got)
	}
	writeLeaf(t, dir, ca.leaf(t, "second"))
	if got := who(a); got != "second" {
		t.Errorf("after it was replaced: %s", got)
	}
	write(t, keyFile, "half of it is wri")
	if got := who(a); got != "second" {
		t.Errorf("while it is being replaced: %s", got)
	}

	set.HTTPAddr = may.URL
	writeLeaf(t, dir, other.leaf(t, "stranger"))
	if got := who(agent(t, set)); got != "nobody" {
		t.Errorf("of a CA that was not asked for: %s", got)
	}
}
