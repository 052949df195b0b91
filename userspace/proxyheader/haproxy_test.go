package proxyheader

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// patience is how long a test waits for what must come.
const patience = time.Minute

// TestFromHAProxy has a real HAProxy tell us of its clients.
func TestFromHAProxy(t *testing.T) {
	for _, loopback := range []string{"127.0.0.1:0", "[::1]:0"} {
		for _, option := range []string{"send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"} {
			t.Run(loopback+" "+option, func(t *testing.T) {
				front, backend := listen(t, loopback), listen(t, "127.0.0.1:0")
				startHAProxy(t, front, "", "mode tcp\nunique-id-format %[uuid]\nserver s "+backend.Addr().String()+" "+option)
				client := dial(t, front.Addr())
				fmt.Fprint(client, "hello")
				got := receive(t, backend, "hello")
				want := Header{Source: addrPort(client.LocalAddr()), Dest: addrPort(front.Addr())}
				if got != want {
					t.Errorf("got %+v, want %+v", got, want)
				}
			})
		}
	}
}

// TestFromHAProxyWithoutAddresses has it pass on what came over a UNIX socket,
// and check our health, which it does in its own name.
func TestFromHAProxyWithoutAddresses(t *testing.T) {
	for _, option := range []string{"send-proxy", "send-proxy-v2"} {
		t.Run("UNIX "+option, func(t *testing.T) {
			backend := listen(t, "127.0.0.1:0")
			front, err := net.Listen("unix", filepath.Join(t.TempDir(), "front"))
			if err != nil {
				t.Fatal(err)
			}
			defer front.Close()
			startHAProxy(t, front, "", "mode tcp\nserver s "+backend.Addr().String()+" "+option)
			fmt.Fprint(dial(t, front.Addr()), "hello")
			if got := receive(t, backend, "hello"); got != (Header{}) {
				t.Errorf("got %+v", got)
			}
		})
	}
	t.Run("check", func(t *testing.T) {
		front, backend := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
		startHAProxy(t, front, "", "mode tcp\noption httpchk\nserver s "+backend.Addr().String()+" check check-send-proxy send-proxy-v2")
		if got := receive(t, backend, "OPTIONS / HTTP/1.0\r\n"); got != (Header{}) {
			t.Errorf("got %+v", got)
		}
	})
}

// TestToHAProxy has it say what it reads from our headers, and pass it on to us.
func TestToHAProxy(t *testing.T) {
	const name = "api.default.dc2.internal.test.consul"
	tests := []struct{ src, dst, name string }{
		{src4, dst4, name},
		{src6, dst6, name},
		{src4, dst4, ""},
	}
	for _, test := range tests {
		t.Run(test.src+" "+test.name, func(t *testing.T) {
			want := header(test.src, test.dst, test.name)
			ours, err := Append(nil, want.Source, want.Dest, want.Authority)
			if err != nil {
				t.Fatal(err)
			}

			front := listen(t, "127.0.0.1:0")
			startHAProxy(t, front, "accept-proxy", `mode http
				http-request return status 200 content-type text/plain lf-string "%ci %cp %[dst] %[dst_port] %[fc_pp_authority]"`)
			said := fmt.Sprint(want.Source.Addr(), " ", want.Source.Port(), " ", want.Dest.Addr(), " ", want.Dest.Port(), " ", want.Authority)
			if got := get(t, front.Addr(), ours); got != said {
				t.Errorf("HAProxy read %q, want %q", got, said)
			}

			front, backend := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
			startHAProxy(t, front, "accept-proxy", "mode tcp\nserver s "+backend.Addr().String()+" send-proxy-v2 proxy-v2-options authority")
			client := dial(t, front.Addr())
			client.Write(append(ours, "hello"...))
			if got := receive(t, backend, "hello"); got != want {
				t.Errorf("passed on as %+v, want %+v", got, want)
			}
		})
	}
}

// startHAProxy runs it on a listener of ours, so that no port is taken twice,
// bound with an option or "", and with the settings of a proxy.
func startHAProxy(t *testing.T, front net.Listener, option, settings string) {
	t.Helper()
	path := requireProgram(t, "haproxy")
	socket, err := front.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	config := filepath.Join(t.TempDir(), "haproxy.cfg")
	text := fmt.Sprintf("defaults\ntimeout client 60s\ntimeout connect 60s\ntimeout server 60s\nlisten test\nbind fd@3 %s\n%s\n", option, settings)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var output bytes.Buffer
	cmd := exec.Command(path, "-db", "-f", config)
	cmd.ExtraFiles = []*os.File{socket}
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("HAProxy said: %s", &output)
		}
	})
}

func requireProgram(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if _, err := os.Stat("/usr/sbin/" + name); err == nil {
		return "/usr/sbin/" + name // not on everyone's PATH
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("CI has to have %s: %v", name, err)
	}
	t.Skipf("%s is not installed: %v", name, err)
	return ""
}

func listen(t *testing.T, addr string) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

func dial(t *testing.T, to net.Addr) net.Conn {
	t.Helper()
	conn, err := net.Dial(to.Network(), to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// receive reads the header of the next connection, and the bytes after it.
func receive(t *testing.T, l *net.TCPListener, after string) Header {
	t.Helper()
	l.SetDeadline(time.Now().Add(patience))
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	var seen []byte
	for {
		h, n, need, err := Parse(seen)
		if err != nil {
			t.Fatalf("%q: %v", seen, err)
		}
		if need == 0 && len(seen) >= n+len(after) {
			if rest := string(seen[n : n+len(after)]); rest != after {
				t.Fatalf("%q after the header, want %q", rest, after)
			}
			return h
		}
		buf := make([]byte, 1024)
		n, err = conn.Read(buf)
		if err != nil {
			t.Fatalf("after %q: %v", seen, err)
		}
		seen = append(seen, buf[:n]...)
	}
}

// get asks for a page on a connection that begins with a header.
func get(t *testing.T, from net.Addr, header []byte) string {
	t.Helper()
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		conn := dial(t, from)
		_, err := conn.Write(header)
		return conn, err
	}}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport, Timeout: patience}).Get("http://haproxy.test/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func addrPort(a net.Addr) netip.AddrPort {
	return a.(*net.TCPAddr).AddrPort()
}
