// Package harness runs real gateways, as processes of the real binary in the
// namespaces of a lab, and gives tests the traffic to put through them.
//
// The traffic is raw TCP that begins with a real ClientHello: the gateway cannot
// tell it from TLS, and the test sees every byte, end and reset as it is, with no
// TLS library in between that hides or adds any.
package harness

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Patience is how long anything may take on a busy machine before it counts as
// never happening.
const Patience = 60 * time.Second

// Scale divides sizes and numbers where they are for volume and not for meaning:
// the race detector makes everything slow.
func Scale(n int) int {
	if Race {
		return max(1, n/8)
	}
	return n
}

var build struct {
	once sync.Once
	path string
	err  error
}

// Binary is the path of sluice, built from this tree once per test process, with
// the race detector if the test has it.
func Binary(t testing.TB) string {
	t.Helper()
	build.once.Do(func() { build.path, build.err = buildBinary() })
	if build.err != nil {
		t.Fatal(build.err)
	}
	return build.path
}

func buildBinary() (string, error) {
	dir, err := os.MkdirTemp("", "sluice-test-bin-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "sluice")
	args := []string{"build", "-o", path}
	if Race {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "sluice/cmd/sluice")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build sluice: %w: %s", err, out)
	}
	return path, nil
}

// CleanUp removes what Binary built and unmounts what BPF mounted. Call it at the end
// of TestMain.
func CleanUp() {
	removeBPF()
	if build.path != "" {
		os.RemoveAll(filepath.Dir(build.path))
	}
}

// Hello is the ClientHello that Go sends for a server name, in one TLS record.
// With filler, it carries so many bytes of ALPN more.
func Hello(name string, filler int) []byte {
	c := &firstWrite{}
	conf := &tls.Config{ServerName: name, InsecureSkipVerify: true}
	for ; filler > 0; filler -= 200 {
		conf.NextProtos = append(conf.NextProtos, fmt.Sprintf("%0199d", filler))
	}
	_ = tls.Client(c, conf).Handshake() // fails at its first read
	return c.written
}

// firstWrite keeps what is written first.
type firstWrite struct {
	net.Conn
	written []byte
}

func (c *firstWrite) Write(b []byte) (int, error) {
	if c.written == nil {
		c.written = append([]byte{}, b...)
	}
	return len(b), nil
}

func (c *firstWrite) Read([]byte) (int, error)         { return 0, io.EOF }
func (c *firstWrite) Close() error                     { return nil }
func (c *firstWrite) SetDeadline(time.Time) error      { return nil }
func (c *firstWrite) SetWriteDeadline(time.Time) error { return nil }

// Eventually waits until is reports true. What seen returns, if given, is told when
// that never happens.
func Eventually(t testing.TB, what string, is func() bool, seen ...func() any) {
	t.Helper()
	for deadline := time.Now().Add(Patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().Before(deadline) {
			continue
		}
		for _, f := range seen {
			what += fmt.Sprintf("; at last: %+v", f())
		}
		t.Fatalf("waited in vain for %s", what)
	}
}
