package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/scripts/lab/pki"
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

func TestReadFlows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	if flows, err := readFlows(path); err != nil || flows != nil {
		t.Errorf("no file yet: %v, %v; want nothing", flows, err)
	}
	const whole = `{"msg":"flow","sni":"a","sent":18446744073709551615,"received":2,"hello_ms":0.25,"reason":"closed"}
{"msg":"something else"}
{"msg":"flow","sni":"b","reason":"unknown_name"}
`
	if err := os.WriteFile(path, []byte(whole+`{"msg":"flow","sni":"c"`), 0o644); err != nil {
		t.Fatal(err)
	}
	flows, err := readFlows(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(flows) != 2 || flows[0].SNI != "a" || flows[1].Reason != "unknown_name" {
		t.Fatalf("got %v, want the two whole lines of flows", flows)
	}
	if flows[0].Sent != 1<<64-1 || flows[0].Received != 2 {
		t.Errorf("bytes %d and %d", flows[0].Sent, flows[0].Received)
	}
	s := &stage{}
	if got := s.field(flows[0], "sent") + " " + s.field(flows[0], "hello_ms") + " " + s.field(flows[0], "absent"); got != "18446744073709551615 0.25 -" {
		t.Errorf("fields as shown: %s", got)
	}
	if err := os.WriteFile(path, []byte("not JSON\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readFlows(path); err == nil {
		t.Error("a line that is not JSON: no error")
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
		s := &stage{dc1: &gateway{name: "dc1"}, dc2: &gateway{name: "dc2"}}
		for g, text := range map[*gateway]string{s.dc1: line, s.dc2: c.dc2} {
			g.access = filepath.Join(t.TempDir(), g.name)
			if err := os.WriteFile(g.access, []byte(text+"\n"), 0o644); err != nil {
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

func TestPoll(t *testing.T) {
	n := 0
	if err := poll(t.Context(), func() (bool, error) { n++; return n == 3, nil }); err != nil || n != 3 {
		t.Errorf("asked %d times: %v", n, err)
	}
	sentinel := errors.New("sentinel")
	if err := poll(t.Context(), func() (bool, error) { return false, sentinel }); err != sentinel {
		t.Errorf("got %v, want the question's own error", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := poll(ctx, func() (bool, error) { return false, nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
}

func TestShort(t *testing.T) {
	var out strings.Builder
	p := &print{out: &out, hide: []string{"/run/x/", "", "uuid.consul", "$TD"}}
	p.step("A title")
	p.command("client", "cat", "/run/x/file", "api.uuid.consul")
	long := strings.Repeat("x", 80)
	p.command("dc1", "cat", "-x", long, "-y", "next")
	p.quote("one\ntwo uuid.consul\n")
	want := "\n1. A title\n\n   client$ cat file api.$TD\n   dc1$ cat -x " + long + " \\\n       -y next\n   | one\n   | two $TD\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
