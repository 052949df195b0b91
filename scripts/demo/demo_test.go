package main

import (
	"bytes"
	"encoding/pem"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/scripts/lab/pki"

	"sluice/scripts/show"
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
			t.Errorf("demo %q: exit status %d, want %d", c.args, got, c.want)
		}
		if !strings.Contains(errs.String(), c.says) {
			t.Errorf("demo %q says %q, want something of %q", c.args, errs.String(), c.says)
		}
	}
}

func TestTable(t *testing.T) {
	got := table(clusterTo{"*.dc2.internal.x.consul", "dc2", []netip.AddrPort{
		netip.MustParseAddrPort("10.0.2.2:8443"), netip.MustParseAddrPort("[fd51::1]:8443"),
	}})
	want := `route "*.dc2.internal.x.consul" { cluster = "dc2" }
cluster "dc2" {
  endpoint "10.0.2.2:8443" {}
  endpoint "[fd51::1]:8443" {}
}
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestBothHops is the check that makes the demo fail when bytes are lost.
func TestBothHops(t *testing.T) {
	const line = `{"msg":"flow","sent":10,"received":20}`
	for _, c := range []struct {
		dc2 string
		ok  bool
	}{
		{line, true},
		{`{"msg":"flow","sent":11,"received":20}`, false},
		{`{"msg":"flow","sent":10,"received":19}`, false},
		{`{"msg":"flow"}`, false},
	} {
		s := &stage{dc1: &gateway{Gateway: &show.Gateway{Name: "dc1"}}, dc2: &gateway{Gateway: &show.Gateway{Name: "dc2"}}}
		for g, text := range map[*gateway]string{s.dc1: line, s.dc2: c.dc2} {
			g.Access = filepath.Join(t.TempDir(), g.Name)
			if err := os.WriteFile(g.Access, []byte(text+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := s.bothHops(t.Context()); (err == nil) != c.ok {
			t.Errorf("%s and %s: %v, want ok %v", line, c.dc2, err, c.ok)
		}
	}
}

func TestCertURI(t *testing.T) {
	ca, err := pki.New()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Leaf("web", "dc1")
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Cert.Raw}))
	if got, err := certURI(url.PathEscape(text)); err != nil || got != leaf.URI() {
		t.Errorf("got %q, %v; want %q", got, err, leaf.URI())
	}
	for _, bad := range []string{"", "%zz", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if got, err := certURI(bad); err == nil {
			t.Errorf("%q: %q and no error", bad, got)
		}
	}
}

func TestCounts(t *testing.T) {
	for line, want := range map[string]bool{
		`sluice_flows_total{reason="closed"} 7`:   true,
		`sluice_bytes_total{direction="sent"} 10`: true,
		`sluice_flows_total{reason="killed"} 0`:   false,
		`sluice_table_version 3`:                  false,
		`# HELP sluice_flows_total Flows.`:        false,
		`go_goroutines 9`:                         false,
		``:                                        false,
	} {
		if counts(line) != want {
			t.Errorf("counts(%q) is %v", line, !want)
		}
	}
}
