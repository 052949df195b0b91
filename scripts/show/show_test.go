package show

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadFlows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	if flows, err := ReadFlows(path); err != nil || flows != nil {
		t.Errorf("no file yet: %v, %v; want nothing", flows, err)
	}
	const whole = `{"msg":"flow","sni":"a","sent":18446744073709551615,"received":2,"hello_ms":0.25,"reason":"closed"}
{"msg":"something else"}
{"msg":"flow","sni":"b","reason":"unknown_name"}
`
	if err := os.WriteFile(path, []byte(whole+`{"msg":"flow","sni":"c"`), 0o644); err != nil {
		t.Fatal(err)
	}
	flows, err := ReadFlows(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(flows) != 2 || flows[0].SNI != "a" || flows[1].Reason != "unknown_name" {
		t.Fatalf("got %v, want the two whole lines of flows", flows)
	}
	if flows[0].Sent != 1<<64-1 || flows[0].Received != 2 {
		t.Errorf("bytes %d and %d", flows[0].Sent, flows[0].Received)
	}
	p := &Printer{}
	if got := p.Field(flows[0], "sent") + " " + p.Field(flows[0], "hello_ms") + " " + p.Field(flows[0], "absent"); got != "18446744073709551615 0.25 -" {
		t.Errorf("fields as shown: %s", got)
	}
	if err := os.WriteFile(path, []byte("not JSON\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFlows(path); err == nil {
		t.Error("a line that is not JSON: no error")
	}
}

func TestPoll(t *testing.T) {
	n := 0
	if err := Poll(t.Context(), func() (bool, error) { n++; return n == 3, nil }); err != nil || n != 3 {
		t.Errorf("asked %d times: %v", n, err)
	}
	sentinel := errors.New("sentinel")
	if err := Poll(t.Context(), func() (bool, error) { return false, sentinel }); err != sentinel {
		t.Errorf("got %v, want the question's own error", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Poll(ctx, func() (bool, error) { return false, nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
}

func TestShort(t *testing.T) {
	var out strings.Builder
	p := &Printer{Out: &out, Hide: []string{"/run/x/", "", "uuid.consul", "$TD"}}
	p.Step("A title")
	p.Command("client", "cat", "/run/x/file", "api.uuid.consul")
	long := strings.Repeat("x", 80)
	p.Command("dc1", "cat", "-x", long, "-y", "next")
	p.Quote("one\ntwo uuid.consul\n")
	want := "\n1. A title\n\n   client$ cat file api.$TD\n   dc1$ cat -x " + long + " \\\n       -y next\n   | one\n   | two $TD\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
