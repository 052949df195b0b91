package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestHandler(t *testing.T) {
	w := new(world)
	m := w.metrics()
	m.Ended(carried())
	s := serve(t, m.Handler())

	expectPage(t, s, "GET", "/healthz", 200, "alive\n")
	expectPage(t, s, "GET", "/readyz", 200, "ready\n")
	for _, why := range []string{"starting", "draining"} {
		w.unready.Store(&why)
		expectPage(t, s, "GET", "/readyz", 503, "not ready: "+why+"\n")
		expectPage(t, s, "GET", "/healthz", 200, "alive\n")
	}
	w.unready.Store(nil)
	expectPage(t, s, "GET", "/readyz", 200, "ready\n")
	expectPage(t, s, "GET", "/", 404, "404 page not found\n")
	expectPage(t, s, "POST", "/readyz", 405, "Method Not Allowed\n")

	code, page := page(t, s, "GET", "/metrics")
	if code != 200 {
		t.Errorf("/metrics: status %d", code)
	}
	for _, line := range []string{
		`sluice_flows_total{reason="closed"} 1`,
		`sluice_flows_total{reason="denied"} 0`,
		`sluice_bytes_total{direction="sent"} 0`,
		`sluice_ready 1`,
		`# TYPE sluice_bytes_total counter`,
		`sluice_flow_seconds_bucket{le="10"} 1`,
	} {
		if !strings.Contains(page, line+"\n") {
			t.Errorf("/metrics has no line %s", line)
		}
	}
	for _, name := range []string{"go_goroutines ", "process_open_fds "} {
		if !strings.Contains(page, "\n"+name) {
			t.Errorf("/metrics has no %s", name)
		}
	}
}

func TestListenErrors(t *testing.T) {
	s := serve(t, http.NotFoundHandler())
	for addr, want := range map[string]string{
		s.Addr().String(): "listen for metrics: listen tcp " + s.Addr().String() + ": bind: address already in use",
		"127.0.0.1":       "listen for metrics: listen tcp: address 127.0.0.1: missing port in address",
	} {
		got, err := Listen(addr, http.NotFoundHandler())
		if err == nil || err.Error() != want || got != nil {
			t.Errorf("%s: %v, want %s", addr, err, want)
		}
	}
	if _, err := Listen(s.Addr().String(), nil); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("%v does not say which error it was", err)
	}
}

// TestCloseLetsEnd has a request under way when the server is closed: it ends
// well, and others do not begin.
func TestCloseLetsEnd(t *testing.T) {
	began, end := make(chan struct{}), make(chan struct{})
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(began)
		<-end
		fmt.Fprint(w, "whole")
	}))
	pages := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + s.Addr().String() + "/")
		if err != nil {
			pages <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		pages <- fmt.Sprint(string(body), err)
	}()
	wait(t, began)
	closed := make(chan error, 1)
	go func() { closed <- s.Close(t.Context()) }()

	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		conn, err := net.Dial("tcp", s.Addr().String())
		if errors.Is(err, unix.ECONNREFUSED) {
			break
		}
		if err == nil {
			conn.Close()
		}
		if time.Now().After(deadline) {
			t.Fatal("it goes on listening")
		}
	}
	select {
	case err := <-closed:
		t.Fatalf("closed before its request has ended: %v", err)
	default:
	}
	close(end)
	if got := wait(t, pages); got != "whole<nil>" {
		t.Errorf("got %q", got)
	}
	if err := wait(t, closed); err != nil {
		t.Error(err)
	}
}

// TestCloseDoesNotWait closes a server whose clients never finish what they say,
// or whose handler does not: each is cut when ctx ends.
func TestCloseDoesNotWait(t *testing.T) {
	stuck := make(chan struct{})
	defer close(stuck)
	tests := []struct{ name, request string }{
		{"nothing sent", ""},
		{"half a header", "GET /healthz HTTP/1.1\r\nHost: "},
		{"half a body", "GET /body HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345"},
		{"stuck handler", "GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			reached := make(chan struct{}, 1)
			mux := http.NewServeMux()
			mux.Handle("/", new(world).metrics().Handler())
			mux.HandleFunc("/body", func(_ http.ResponseWriter, r *http.Request) {
				reached <- struct{}{}
				io.Copy(io.Discard, r.Body)
			})
			mux.HandleFunc("/stuck", func(http.ResponseWriter, *http.Request) {
				reached <- struct{}{}
				<-stuck
			})
			s := serve(t, mux)
			conn, err := net.Dial("tcp", s.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprint(conn, test.request)
			if strings.Contains(test.request, "\r\n\r\n") {
				wait(t, reached)
			} else {
				// The server has accepted it when it has answered a later one.
				expectPage(t, s, "GET", "/healthz", 200, "alive\n")
			}

			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			closed := make(chan error, 1)
			go func() { closed <- s.Close(ctx) }()
			// No error: the machine was so slow that the server's own limits
			// came first.
			err = wait(t, closed)
			if err != nil && (!errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "end metrics requests: ")) {
				t.Errorf("got %v", err)
			}
			if err == nil && test.name == "stuck handler" {
				t.Error("closed as if nobody was there")
			}
			conn.SetDeadline(time.Now().Add(patience))
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the connection goes on: %v", err)
			}
		})
	}
}

func serve(t *testing.T, h http.Handler) *Server {
	t.Helper()
	s, err := Listen("127.0.0.1:0", h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		s.Close(ctx)
	})
	return s
}

// wait takes what comes from c.
func wait[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("it takes too long")
		panic("not reached")
	}
}

// page asks for a page on a connection of its own.
func page(t *testing.T, s *Server, method, path string) (code int, body string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	req, err := http.NewRequest(method, "http://"+s.Addr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func expectPage(t *testing.T, s *Server, method, path string, code int, body string) {
	t.Helper()
	if gotCode, got := page(t, s, method, path); gotCode != code || got != body {
		t.Errorf("%s %s: %d %q, want %d %q", method, path, gotCode, got, code, body)
	}
}
