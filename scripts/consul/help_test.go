package consul_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/scripts/consul"
)

// eventually waits until is returns no error.
func eventually(t *testing.T, what string, is func() error) {
	t.Helper()
	for deadline := time.Now().Add(consul.Patience); ; time.Sleep(25 * time.Millisecond) {
		err := is()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s: %v", what, err)
		}
	}
}

// must fails the test if there is an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// moduleRoot is the top of the source tree.
func moduleRoot(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	must(t, err)
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// serve accepts at the listener until the test ends, each connection handled on a
// goroutine of its own and closed after it.
func serve(t *testing.T, ln net.Listener, handle func(net.Conn)) {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[conn] = true
			mu.Unlock()
			wg.Go(func() {
				handle(conn)
				conn.Close()
				mu.Lock()
				delete(open, conn)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for conn := range open {
			conn.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
}

// echo answers with what it gets.
func echo(conn net.Conn) { carry(conn, conn) }

// carry copies until the end, without the pipes that Go would splice(2) through and
// keep for a while: NoLeaks counts pipes.
func carry(to, from net.Conn) { io.Copy(struct{ io.Writer }{to}, from) }

// listen is net.Listen, at an address that the test's cluster owns.
func listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	must(t, err)
	return ln
}

// forward is the simplest of mesh gateways: it reads the server name, and carries
// the connection, as it came, to where the table says. A name of the table that
// begins with "*" is of all that end with the rest.
func forward(t *testing.T, addr string, table map[string]string) {
	t.Helper()
	serve(t, listen(t, addr), func(down net.Conn) {
		name, read := serverName(down)
		to := table[name]
		for suffix, dest := range table {
			if rest, ok := strings.CutPrefix(suffix, "*"); ok && to == "" && strings.HasSuffix(name, rest) {
				to = dest
			}
		}
		if to == "" {
			return // such as Consul's check, which says nothing
		}
		up, err := net.DialTimeout("tcp", to, 10*time.Second)
		if err != nil {
			return
		}
		defer up.Close()
		if _, err := up.Write(read); err != nil {
			return
		}
		done := make(chan bool)
		go func() {
			defer close(done)
			carry(up, down)
			up.(*net.TCPConn).CloseWrite()
		}()
		carry(down, up)
		down.Close() // the other copy may wait for it
		<-done
	})
}

// serverName reads a ClientHello and returns its server name and all that was read.
func serverName(conn net.Conn) (name string, read []byte) {
	rec := &recorder{Conn: conn}
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	defer conn.SetDeadline(time.Time{})
	found := errors.New("found")
	_ = tls.Server(rec, &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		name = h.ServerName
		return nil, found
	}}).HandshakeContext(context.Background())
	return name, rec.read
}

// recorder keeps what is read, and writes nothing.
type recorder struct {
	net.Conn
	read []byte
}

func (r *recorder) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.read = append(r.read, b[:n]...)
	return n, err
}

func (r *recorder) Write(b []byte) (int, error) { return len(b), nil }
