package main

import (
	"bytes"
	"encoding/pem"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/scripts/lab/pki"
	"sluice/scripts/show"
	"sluice/userspace/route"
)

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		want int
		says string
	}{
		{[]string{"-nonsense"}, 2, "nonsense"},
		{[]string{"-keep", "extra"}, 2, "extra"},
		{[]string{"-help"}, 0, "-sluice"},
		{[]string{"-sluice", "/absent/sluice"}, 1, "FAILED"},
	} {
		var out, errs bytes.Buffer
		if got := run(t.Context(), c.args, &out, &errs); got != c.want {
			t.Errorf("datacenters %q: exit status %d, want %d", c.args, got, c.want)
		}
		if !strings.Contains(errs.String(), c.says) {
			t.Errorf("datacenters %q says %q, want something of %q", c.args, errs.String(), c.says)
		}
	}
}

// TestReadAnswer is the check that makes the lab fail when somebody else answers, or
// nobody whom the mesh knows.
func TestReadAnswer(t *testing.T) {
	ca, err := pki.New()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Leaf("api", "dc2")
	if err != nil {
		t.Fatal(err)
	}
	cert := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Cert.Raw}))
	const verified, reply = "Verification: OK\n", "HTTP/1.1 200 OK\r\nServer: nginx\r\n\r\nHello\n"
	for _, c := range []struct {
		out  string
		want answer
		bad  string
	}{
		{"CONNECTED\n" + cert + verified + reply, answer{leaf.URI(), "Hello"}, ""},
		{"CONNECTED\n" + verified + reply, answer{}, "no certificate"},
		{cert + reply, answer{}, "not verified"},
		{cert + verified, answer{}, "no answer"},
		{"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", answer{}, "x509"},
	} {
		got, err := readAnswer(c.out)
		switch {
		case c.bad == "" && (err != nil || got != c.want):
			t.Errorf("got %v, %v; want %v", got, err, c.want)
		case c.bad != "" && (err == nil || !strings.Contains(err.Error(), c.bad)):
			t.Errorf("got %v, %v; want an error of %q", got, err, c.bad)
		}
	}
}

func TestUntil(t *testing.T) {
	closed := 0
	u := &until{text: "hello", then: func() error { closed++; return nil }}
	for _, part := range []string{"a he", "llo", " and hello"} {
		if _, err := u.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if closed != 1 || u.String() != "a hello and hello" {
		t.Errorf("closed %d times at %q", closed, u.String())
	}
}

func TestRoutes(t *testing.T) {
	b := route.NewBuilder(nil, "test")
	at := netip.MustParseAddrPort("10.0.0.1:8443")
	for _, err := range []error{
		b.PutCluster(&route.Cluster{Name: "dc2", Endpoints: []route.Endpoint{{Addrs: []netip.AddrPort{at}, Health: route.Passing}}}),
		b.PutRoute(&route.Route{Name: "*.dc2.x.consul", Cluster: "dc2"}),
		b.PutRoute(&route.Route{Name: "a.x.consul", Refuse: "because"}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	table, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"*.dc2.x.consul -> 10.0.0.1:8443 passing", "a.x.consul ->"}
	if diff := cmp.Diff(want, routes(table)); diff != "" {
		t.Error(diff)
	}
}

func TestClean(t *testing.T) {
	got := clean([]string{"PATH=/bin", "CONSUL_HTTP_TOKEN=x", "SLUICE_LISTEN=:1", "HOME=/"})
	if want := []string{"PATH=/bin", "HOME=/"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSaid(t *testing.T) {
	const log = `{"msg":"registered"}
{"msg":"routes come by xDS"}
{"msg":"ready"}
`
	for _, c := range []struct {
		texts []string
		bad   string
	}{
		{[]string{"registered", "ready"}, ""},
		{[]string{"ready", "registered"}, `does not say "registered"`},
		{[]string{"stopped"}, `does not say "stopped"`},
	} {
		var out bytes.Buffer
		s := &site{}
		s.Out = &out
		g := &show.Gateway{Name: "g", Log: filepath.Join(t.TempDir(), "log")}
		if err := os.WriteFile(g.Log, []byte(log), 0o600); err != nil {
			t.Fatal(err)
		}
		err := s.said(g, c.texts...)
		if c.bad == "" && err != nil || c.bad != "" && (err == nil || !strings.Contains(err.Error(), c.bad)) {
			t.Errorf("%q: %v, want %q", c.texts, err, c.bad)
		}
	}
}
