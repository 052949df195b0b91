package sni

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the hellos that clients send to testdata")

const captureDir = "testdata/hellos"

// A captured hello, and the client that sent it.
type captured struct {
	client
	stream []byte
}

// captures reads all hellos in testdata.
func captures(t testing.TB) []captured {
	t.Helper()
	var all []captured
	for _, c := range clients {
		if c.file != "" {
			all = append(all, capture(t, c.file))
		}
	}
	return all
}

func capture(t testing.TB, file string) captured {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(captureDir, file))
	if err != nil {
		t.Fatal(err)
	}
	var digits []byte
	for line := range bytes.Lines(text) {
		if line[0] != '#' {
			digits = append(digits, bytes.TrimSpace(line)...)
		}
	}
	stream, err := hex.DecodeString(string(digits))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	i := slices.IndexFunc(clients, func(c client) bool { return c.file == file })
	return captured{clients[i], stream}
}

func (c client) save(t *testing.T, stream []byte) {
	t.Helper()
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\n", c.release())
	if c.program != "" {
		fmt.Fprintf(&b, "# %s %s\n", c.program, strings.Join(c.args, " "))
	}
	for line := range slices.Chunk(stream, 32) {
		fmt.Fprintf(&b, "%x\n", line)
	}
	if err := os.WriteFile(filepath.Join(captureDir, c.file), b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// release is the client's version, as it names it.
func (c client) release() string {
	how := map[string][]string{
		"openssl":  {"openssl", "version"},
		"curl":     {"curl", "--version"},
		"chromium": {"chromium", "--version"},
		"tstclnt":  {"dpkg-query", "--show", "libnss3-tools"}, // it has no option to tell
	}[c.program]
	if how == nil {
		return "crypto/tls of " + runtime.Version()
	}
	out, err := exec.Command(how[0], how[1:]...).Output()
	if err != nil {
		return c.program
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return strings.Join(strings.Fields(first), " ")
}

// joined is the handshake message in a stream of records.
func joined(stream []byte) []byte {
	var message []byte
	for len(stream) > 0 {
		n := recordHeader + int(stream[3])<<8 + int(stream[4])
		message = append(message, stream[recordHeader:n]...)
		stream = stream[n:]
	}
	return message
}

// What real clients sent once is read as it is from those that run.
func TestCaptures(t *testing.T) {
	for _, c := range captures(t) {
		var h Hello
		if got, want := parse(&h, c.stream, DefaultMax), c.verdict(len(c.stream)); got != want {
			t.Errorf("%s: read %+v, want %+v", c.file, got, want)
		}
	}
	files, err := filepath.Glob(captureDir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !slices.ContainsFunc(clients, func(c client) bool { return c.file == filepath.Base(f) }) {
			t.Errorf("%s belongs to no client", f)
		}
	}
}
