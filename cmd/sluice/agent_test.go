package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// soon is how long anything may take on a busy machine.
const soon = 30 * time.Second

// running is an agent in this process, with its log and its exit status.
type running struct {
	t       *testing.T
	dir     string
	signals chan os.Signal
	log     *syncBuffer
	ended   chan error
	agent   *agent
}

// start runs an agent with a route web.test to addr, and flags besides.
func start(t *testing.T, addr string, flags ...string) *running {
	t.Helper()
	r := &running{t: t, dir: t.TempDir(), signals: make(chan os.Signal, 1), log: new(syncBuffer), ended: make(chan error, 1)}
	r.writeRoutes("web.test", addr)
	var set settings
	args := append([]string{
		"-routes", r.path("routes.hcl"), "-listen", "127.0.0.1:0", "-access-log", r.path("access.log"), "-admin-socket", "off", "-bpf-dir", r.path("none"),
	}, flags...)
	if err := set.flags().Parse(args); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.agent, err = newAgent(&set, environment{io.Discard, r.log, os.LookupEnv}); err != nil {
		t.Fatal(err)
	}
	go func() { r.ended <- r.agent.run(context.Background(), r.signals) }()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", r.log)
		}
	})
	return r
}

func (r *running) path(name string) string { return filepath.Join(r.dir, name) }

func (r *running) writeRoutes(name, addr string) {
	r.t.Helper()
	text := fmt.Sprintf("route %q {\n  cluster = \"c\"\n}\ncluster \"c\" {\n  endpoint %q {}\n}\n", name, addr)
	if err := os.WriteFile(r.path("routes.hcl"), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// waitLog waits until the log has the text n times.
func (r *running) waitLog(text string, n int) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%q %d times in the log", text, n), func() bool {
		return strings.Count(r.log.String(), text) >= n
	})
}

func (r *running) wait() error {
	r.t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(soon):
		r.t.Fatal("the agent does not end")
		return nil
	}
}

// hello says hello by name and returns what the gateway or the server answers.
func (r *running) hello(name string) error {
	r.t.Helper()
	conn := r.dial()
	defer conn.Close()
	return tls.Client(conn, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake()
}

func (r *running) dial() net.Conn {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.agent.gateway.Load().Addrs()[0].String())
	if err != nil {
		r.t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(soon)); err != nil {
		r.t.Fatal(err)
	}
	return conn
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(soon); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// silentServer accepts connections, and holds them until the test is over.
func silentServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var conns []net.Conn
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range conns {
			c.Close()
		}
	})
	return l.Addr().String()
}

// openFlow makes a flow that stays, of a client that waits for an answer. The
// channel gets the error that ends its wait.
func (r *running) openFlow() (net.Conn, <-chan error) {
	r.t.Helper()
	conn := r.dial()
	r.t.Cleanup(func() { conn.Close() })
	ended := make(chan error, 1)
	go func() {
		ended <- tls.Client(conn, &tls.Config{ServerName: "web.test", InsecureSkipVerify: true}).Handshake()
	}()
	eventually(r.t, "a flow that is carried", func() bool {
		sent, _ := r.agent.gateway.Load().Bytes()
		return sent > 0
	})
	return conn, ended
}

func TestReload(t *testing.T) {
	r := start(t, silentServer(t))
	r.waitLog("msg=ready", 1)
	unknown := "unrecognized name"
	if err := r.hello("other.test"); err == nil || !strings.Contains(err.Error(), unknown) {
		t.Fatalf("unknown name: %v", err)
	}

	// A bad file changes nothing, and says where it is bad.
	if err := os.WriteFile(r.path("routes.hcl"), []byte("route \"x.test\" {\n  colour = 1\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.signals <- syscall.SIGHUP
	r.waitLog("routes.hcl:2: ", 1)
	if name := "web.test"; r.agent.store.Load().Route(name) == nil {
		t.Fatalf("%s is gone after a bad reload", name)
	}

	// A good one counts from then on; the access log is opened anew.
	if err := os.Rename(r.path("access.log"), r.path("access.log.1")); err != nil {
		t.Fatal(err)
	}
	r.writeRoutes("other.test", silentServer(t))
	r.signals <- syscall.SIGHUP
	eventually(t, "the new table", func() bool { return r.agent.store.Load().Route("other.test") != nil })
	if err := r.hello("web.test"); err == nil || !strings.Contains(err.Error(), unknown) {
		t.Fatalf("name of the old table: %v", err)
	}
	eventually(t, "a line in the new access log", func() bool {
		b, err := os.ReadFile(r.path("access.log"))
		return err == nil && strings.Contains(string(b), "sni=web.test")
	})
	r.signals <- syscall.SIGTERM
	if err := r.wait(); err != nil {
		t.Fatal(err)
	}
}

func TestDrainAndSecondSignal(t *testing.T) {
	socket, notes := notifySocket(t)
	t.Setenv("NOTIFY_SOCKET", socket)
	r := start(t, silentServer(t), "-metrics-bind", "127.0.0.1:0", "-drain-timeout", "1h")
	if got := <-notes; got != "READY=1" {
		t.Errorf("systemd was told %q", got)
	}
	base := "http://" + r.agent.server.Addr().String()
	wantStatus(t, base+"/healthz", http.StatusOK, "alive")
	wantStatus(t, base+"/readyz", http.StatusOK, "ready")
	_, ended := r.openFlow()

	r.signals <- syscall.SIGTERM
	if got := <-notes; got != "STOPPING=1" {
		t.Errorf("systemd was told %q", got)
	}
	wantStatus(t, base+"/readyz", http.StatusServiceUnavailable, "not ready: draining")
	eventually(t, "a closed port", func() bool {
		c, err := net.Dial("tcp", r.agent.gateway.Load().Addrs()[0].String())
		if err == nil {
			c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	if n := r.agent.gateway.Load().Active(); n != 1 {
		t.Errorf("%d flows while draining, want 1", n)
	}

	r.signals <- syscall.SIGINT
	if err := r.wait(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the flow ended with %v, want a reset", err)
	}
	b, err := os.ReadFile(r.path("access.log"))
	if err != nil || !strings.Contains(string(b), "reason=drain_timeout") {
		t.Errorf("access log, %v: %s", err, b)
	}
}

func TestDrainEndsWithItsFlows(t *testing.T) {
	r := start(t, silentServer(t), "-drain-timeout", "1h")
	r.waitLog("msg=ready", 1)
	conn, _ := r.openFlow()
	r.signals <- syscall.SIGTERM
	r.waitLog("msg=draining", 1)
	// A reset, as the server would answer a mere close with silence.
	if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if err := r.wait(); err != nil {
		t.Fatal(err)
	}
}

func TestDrainTimeout(t *testing.T) {
	r := start(t, silentServer(t), "-drain-timeout", "10ms")
	r.waitLog("msg=ready", 1)
	r.openFlow()
	r.signals <- syscall.SIGTERM
	if err := r.wait(); err != nil {
		t.Fatal(err)
	}
}

func TestTakenAddresses(t *testing.T) {
	taken := silentServer(t)
	for _, flag := range []string{"-listen", "-metrics-bind"} {
		r := start(t, taken, flag, taken)
		if err := r.wait(); err == nil || !strings.Contains(err.Error(), taken) {
			t.Errorf("%s at a taken address: %v", flag, err)
		}
	}
}

// notifySocket is a socket like systemd's, and what is said to it.
func notifySocket(t *testing.T) (string, <-chan string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	notes := make(chan string, 8)
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			notes <- string(b[:n])
		}
	}()
	return path, notes
}

func wantStatus(t *testing.T, url string, status int, body string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status || strings.TrimSpace(string(b)) != body {
		t.Errorf("%s: %d %q, %v; want %d %q", url, resp.StatusCode, b, err, status, body)
	}
}
