package sni

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

const meshName = "web.default.dc1.internal.test.consul"

// A client is a program, or Go's own TLS, that sends a hello, and what is to be
// read in it. file has one that it sent, for tests that do not run programs.
type client struct {
	file    string
	program string      // "" for Go's
	args    []string    // HOST, PORT: the listener's; NAME: meshName; DIR: a fresh directory
	config  *tls.Config // for Go's
	once    bool        // too heavy for every run: only when told to -update
	sees    string      // in the program's output, once it got the alert

	name    string // meshName if "", "none" if it sends none
	alpn    string
	version uint16 // TLS 1.3 if 0
}

func (c client) verdict(size int) verdict {
	v := verdict{Name: cmp.Or(c.name, meshName), ALPN: c.alpn, Version: cmp.Or(c.version, tls.VersionTLS13), Len: size}
	if c.name == "none" {
		v.Name, v.Refusal = "", NoName
	}
	return v
}

var clients = []client{
	{file: "go-x25519mlkem768.hex", config: &tls.Config{ServerName: meshName, NextProtos: []string{"h2"}}, alpn: "h2"},
	{file: "go-tls12.hex", config: &tls.Config{ServerName: "WEB.Default.dc1.internal.test.CONSUL", MaxVersion: tls.VersionTLS12}, version: tls.VersionTLS12},
	{file: "go-address.hex", config: &tls.Config{ServerName: "127.0.0.1"}, name: "none"},
	{file: "go-dot.hex", config: &tls.Config{ServerName: meshName + "."}},
	{file: "go-ech.hex", config: &tls.Config{ServerName: meshName, MinVersion: tls.VersionTLS13, EncryptedClientHelloConfigList: echConfigs("outer.example")}, name: "outer.example"},
	{config: &tls.Config{ServerName: meshName, NextProtos: protocols(200)}, alpn: protocols(1)[0]}, // 20 KB, so two records

	{file: "openssl.hex", program: "openssl", args: words("s_client -connect HOST:PORT -servername NAME"), sees: "SSL alert number 112"},
	{file: "openssl-tls12.hex", program: "openssl", args: words("s_client -connect HOST:PORT -servername NAME -tls1_2"), sees: "SSL alert number 112", version: tls.VersionTLS12},
	{file: "openssl-tls10.hex", program: "openssl", args: words("s_client -connect HOST:PORT -servername NAME -tls1 -cipher DEFAULT@SECLEVEL=0"), sees: "SSL alert number 112", version: tls.VersionTLS10},
	{file: "openssl-no-name.hex", program: "openssl", args: words("s_client -connect HOST:PORT -noservername"), sees: "SSL alert number 109", name: "none"},
	{file: "openssl-alpn.hex", program: "openssl", args: words("s_client -connect HOST:PORT -servername NAME. -alpn " + strings.Join(protocols(5), ",")), sees: "SSL alert number 112", alpn: protocols(1)[0]},
	{program: "openssl", args: words("s_client -connect HOST:PORT -servername NAME -alpn " + strings.Join(protocols(200), ",")), sees: "SSL alert number 112", alpn: protocols(1)[0]},

	{file: "curl.hex", program: "curl", args: words("-sS -k --noproxy * --connect-to ::HOST:PORT https://NAME/"), sees: "unrecognized name", alpn: "h2"},
	{file: "curl-http11.hex", program: "curl", args: words("-sS -k --noproxy * --http1.1 --tls-max 1.2 --resolve NAME:PORT:HOST https://NAME:PORT/"), sees: "unrecognized name", alpn: "http/1.1", version: tls.VersionTLS12},

	{file: "nss.hex", program: "tstclnt", args: words("-D -o -Q -h HOST -p PORT -a NAME"), sees: "SSL_ERROR_UNRECOGNIZED_NAME_ALERT"},
	{file: "nss-tls12.hex", program: "tstclnt", args: words("-D -o -Q -h HOST -p PORT -a NAME -V tls1.2:tls1.2"), sees: "SSL_ERROR_UNRECOGNIZED_NAME_ALERT", version: tls.VersionTLS12},
	{file: "nss-ech-grease.hex", program: "tstclnt", args: words("-D -o -Q -h HOST -p PORT -a NAME -i 100"), sees: "SSL_ERROR_UNRECOGNIZED_NAME_ALERT"},

	{file: "chromium.hex", program: "chromium", once: true, alpn: "h2",
		args: append(words("--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --no-proxy-server"+
			" --disable-background-networking --disable-component-update --disable-sync"+
			" --user-data-dir=DIR --dump-dom https://NAME/"), "--host-resolver-rules=MAP NAME HOST:PORT")},
}

func words(s string) []string { return strings.Fields(s) }

// protocols are n names of 100 bytes.
func protocols(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("protocol-%03d-%s", i, strings.Repeat("x", 87))
	}
	return list
}

// echConfigs is a list of one Encrypted Client Hello configuration with a key that
// nobody keeps (RFC 9849, 4).
func echConfigs(publicName string) []byte {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	var b cryptobyte.Builder
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddUint16(0xfe0d)
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			b.AddUint8(7)       // config_id
			b.AddUint16(0x0020) // DHKEM(X25519, HKDF-SHA256)
			b.AddUint16LengthPrefixed(add(key.PublicKey().Bytes()))
			b.AddUint16LengthPrefixed(add([]byte{0, 1, 0, 1})) // HKDF-SHA256, AES-128-GCM
			b.AddUint8(64)                                     // maximum_name_length
			b.AddUint8LengthPrefixed(add([]byte(publicName)))
			b.AddUint16(0) // extensions
		})
	})
	return b.BytesOrPanic()
}

// Clients as they are installed here connect, are read as the gateway would read
// them, and understand the alert that they get.
func TestClients(t *testing.T) {
	for i, c := range clients {
		t.Run(cmp.Or(c.file, fmt.Sprintf("%s-%d", c.program, i)), func(t *testing.T) {
			if c.once && !*update {
				t.Skipf("runs %s only with -update; its hello in testdata is tested always", c.program)
			}
			if c.program != "" {
				requireProgram(t, c.program)
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			done := make(chan error, 1)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			go func() { done <- c.connect(ctx, l.Addr().String(), t.TempDir()) }()

			var h Hello
			stream, got, err := greet(l, &h)
			if err != nil {
				t.Fatal(err)
			}
			if c.once {
				cancel() // it would try again and again
			}
			if err := <-done; err != nil && !c.once {
				t.Error(err)
			}
			if want := c.verdict(len(stream)); got != want {
				t.Errorf("read %+v, want %+v", got, want)
			}
			if c.file != "" && *update {
				c.save(t, stream)
			}
		})
	}
}

func requireProgram(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("CI has to have %s: %v", name, err)
		}
		t.Skipf("%s is not installed: %v", name, err)
	}
}

// greet accepts a client, reads what it sends until Parse is content or refuses,
// and answers with an alert: unrecognized_name if the hello was good.
func greet(l net.Listener, h *Hello) (stream []byte, v verdict, err error) {
	deadline := time.Now().Add(time.Minute)
	if err := l.(*net.TCPListener).SetDeadline(deadline); err != nil {
		return nil, v, err
	}
	conn, err := l.Accept()
	if err != nil {
		return nil, v, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, v, err
	}
	buf := make([]byte, LargestMax)
	n := 0
	for v = parse(h, nil, LargestMax); v.Need > 0; v = parse(h, buf[:n], LargestMax) {
		more, err := conn.Read(buf[n:])
		if err != nil {
			return nil, v, fmt.Errorf("reading the hello after %d bytes of %d: %w", n, v.Need, err)
		}
		n += more
	}
	code := AlertUnrecognizedName
	if v.Refusal != None {
		code, _ = v.Refusal.Alert()
	}
	_, err = conn.Write(AppendAlert(nil, code))
	return buf[:n], v, err
}

// connect runs the client against addr, and is nil if it saw the alert.
func (c client) connect(ctx context.Context, addr, dir string) error {
	if c.program == "" {
		return c.connectGo(ctx, addr)
	}
	out, err := c.command(ctx, addr, dir).CombinedOutput()
	if !bytes.Contains(out, []byte(c.sees)) {
		return fmt.Errorf("%s (%v) does not report %q:\n%s", c.program, err, c.sees, out)
	}
	return nil
}

func (c client) connectGo(ctx context.Context, addr string) error {
	want := AlertUnrecognizedName
	if c.name == "none" {
		want = AlertMissingExtension
	}
	conn, err := (&tls.Dialer{Config: c.config}).DialContext(ctx, "tcp", addr)
	if err == nil {
		conn.Close()
		return errors.New("handshake succeeded")
	}
	// The error has an alert's type, but not one that is exported.
	if text := tls.AlertError(want).Error(); !strings.HasSuffix(err.Error(), text) {
		return fmt.Errorf("handshake: %w, want %q", err, text)
	}
	return nil
}

func (c client) command(ctx context.Context, addr, dir string) *exec.Cmd {
	host, port, _ := net.SplitHostPort(addr)
	fill := strings.NewReplacer("HOST", host, "PORT", port, "NAME", meshName, "DIR", dir)
	args := slices.Clone(c.args)
	for i := range args {
		args[i] = fill.Replace(args[i])
	}
	return exec.CommandContext(ctx, c.program, args...)
}
