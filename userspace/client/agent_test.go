package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

// patience is how long a thing may take that is bound to happen.
const patience = 20 * time.Second

// seen is what an agent was asked.
type seen struct {
	mu   sync.Mutex
	last *http.Request
}

func (s *seen) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = r
	fmt.Fprint(w, `"10.0.0.1:8300"`)
}

// ask makes a request, and returns what the agent got.
func (s *seen) ask(t *testing.T, a *Agent, q *api.QueryOptions) *http.Request {
	t.Helper()
	if q == nil {
		q = &api.QueryOptions{}
	}
	if _, err := a.API().Status().LeaderWithQueryOptions(q.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

func serve(t testing.TB, h http.Handler) *httptest.Server {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func TestTokenOnRequests(t *testing.T) {
	// What NewClient would take from here by itself is not ours.
	t.Setenv(api.HTTPTokenEnvName, "of-the-environment")
	t.Setenv(api.HTTPTokenFileEnvName, filepath.Join(t.TempDir(), "none"))
	t.Setenv(api.HTTPSSLEnvName, "true")
	t.Setenv(api.HTTPAddrEnvName, "127.0.0.1:1")
	t.Setenv(api.HTTPAuthEnvName, "who")
	t.Setenv(api.HTTPCAFile, "none")
	var s seen
	url := serve(t, &s).URL
	path := write(t, filepath.Join(t.TempDir(), "token"), "one\n")

	a := agent(t, Settings{HTTPAddr: url, TokenFile: path})
	if got := s.ask(t, a, nil).Header[tokenHeader]; len(got) != 1 || got[0] != "one" {
		t.Errorf("token %q", got)
	}
	write(t, path, "two\n")
	if got := s.ask(t, a, nil).Header[tokenHeader]; len(got) != 1 || got[0] != "two" {
		t.Errorf("after it rotated: token %q", got)
	}
	if got := s.ask(t, a, &api.QueryOptions{Token: "own"}).Header[tokenHeader]; len(got) != 1 || got[0] != "own" {
		t.Errorf("a request's own: token %q", got)
	}
	r := s.ask(t, agent(t, Settings{HTTPAddr: url}), nil)
	if got := r.Header[tokenHeader]; got != nil {
		t.Errorf("without one: token %q", got)
	}
	if _, _, ok := r.BasicAuth(); ok {
		t.Error("a user was sent")
	}
}

func TestRequests(t *testing.T) {
	var s seen
	a := agent(t, Settings{
		HTTPAddr: serve(t, &s).URL + "/behind/proxy/", HTTPAuth: "user:pass:word", Namespace: "ns1", Partition: "p1",
	})
	r := s.ask(t, a, nil)
	if want := "/behind/proxy/v1/status/leader"; r.URL.Path != want {
		t.Errorf("path %s, want %s", r.URL.Path, want)
	}
	if user, password, _ := r.BasicAuth(); user != "user" || password != "pass:word" {
		t.Errorf("user %q, password %q", user, password)
	}
	if q := r.URL.Query(); q.Get("ns") != "ns1" || q.Get("partition") != "p1" {
		t.Errorf("query %v", q)
	}
	if a.TLS() || a.String() != "http://"+r.Host+"/behind/proxy" {
		t.Errorf("TLS %t at %s", a.TLS(), a)
	}
}

func TestUnixSocket(t *testing.T) {
	var s seen
	path := filepath.Join(t.TempDir(), "http.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(&s)
	server.Listener.Close()
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	a := agent(t, Settings{HTTPAddr: "unix://" + path, Token: "one"})
	if r := s.ask(t, a, nil); r.Host != "localhost" || r.Header.Get(tokenHeader) != "one" {
		t.Errorf("host %q, token %q", r.Host, r.Header.Get(tokenHeader))
	}
	if a.String() != "unix://"+path {
		t.Error(a)
	}
}

// TestNoRedirection: the token does not go where the agent did not mean to send us.
func TestNoRedirection(t *testing.T) {
	elsewhere := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("was asked") }))
	a := agent(t, Settings{HTTPAddr: serve(t, http.RedirectHandler(elsewhere.URL, http.StatusFound)).URL, Token: "one"})
	_, err := a.API().Status().Leader()
	var status api.StatusError
	if !errors.As(err, &status) || status.Code != http.StatusFound {
		t.Errorf("got %v", err)
	}
}

func TestContextBounds(t *testing.T) {
	asked, done := make(chan struct{}), make(chan struct{})
	a := agent(t, Settings{HTTPAddr: serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done() // the connection is closed
		close(done)
	})).URL})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if _, _, err := a.API().Catalog().Services(new(api.QueryOptions).WithContext(ctx)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	select {
	case <-done:
	case <-time.After(patience):
		t.Error("the agent is still being asked")
	}
}

// blocking is an agent whose queries wait until there are so many of them.
func blocking(n int64, protocol *atomic.Int64) http.HandlerFunc {
	var waiting atomic.Int64
	all := make(chan struct{})
	return func(w http.ResponseWriter, r *http.Request) {
		protocol.Store(int64(r.ProtoMajor))
		if r.URL.Path == "/v1/catalog/services" {
			if waiting.Add(1) == n {
				close(all)
			}
			<-all
		}
		fmt.Fprint(w, "{}")
	}
}

// query makes that many blocking queries at a time, after one to warm up.
func query(t *testing.T, a *Agent, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := a.API().Agent().Services(); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			if _, _, err := a.API().Catalog().Services(new(api.QueryOptions).WithContext(ctx)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// counting counts connections.
func counting(s *httptest.Server) *atomic.Int64 {
	n := new(atomic.Int64)
	next := s.Config.ConnState
	s.Config.ConnState = func(c net.Conn, state http.ConnState) {
		if state == http.StateNew {
			n.Add(1)
		}
		if next != nil {
			next(c, state)
		}
	}
	return n
}

func TestBlockingQueriesShareConnections(t *testing.T) {
	const queries = 600
	var protocol atomic.Int64
	ca := newAuthority(t)
	var connections *atomic.Int64
	s := serveTLS(t, ca, "127.0.0.1", blocking(queries, &protocol), func(s *httptest.Server) { connections = counting(s) })
	a := agent(t, Settings{HTTPAddr: s.URL, CAFile: ca.write(t, t.TempDir())})
	query(t, a, queries)
	// They have 250 streams each, as Consul's do.
	if n := connections.Load(); protocol.Load() != 2 || n > 10 || !a.TLS() {
		t.Errorf("HTTP/%d, %d connections, TLS %t", protocol.Load(), n, a.TLS())
	}
}

// TestHTTP1OverTLS: as many queries at a time as there are, and requests keep
// their bodies, at a server that speaks no HTTP/2.
func TestHTTP1OverTLS(t *testing.T) {
	const queries = 50
	var protocol atomic.Int64
	ca := newAuthority(t)
	answer := blocking(queries, &protocol)
	bodies := make(chan string, 1)
	s := serveTLS(t, ca, "127.0.0.1", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			body, err := io.ReadAll(r.Body)
			bodies <- fmt.Sprint(string(body), err)
		}
		answer(w, r)
	}, func(s *httptest.Server) { s.EnableHTTP2 = false })
	a := agent(t, Settings{HTTPAddr: s.URL, CAFile: ca.write(t, t.TempDir())})
	if _, err := a.API().Raw().Write("/v1/x", "hello", nil, nil); err != nil {
		t.Fatal(err)
	}
	if got := <-bodies; got != "\"hello\"\n<nil>" {
		t.Errorf("body %q", got)
	}
	query(t, a, queries)
	if protocol.Load() != 1 {
		t.Errorf("HTTP/%d", protocol.Load())
	}
}

func TestPlainConnectionsAreKept(t *testing.T) {
	const queries = 150
	var protocol atomic.Int64
	s := httptest.NewUnstartedServer(nil)
	connections := counting(s)
	var turn atomic.Pointer[http.HandlerFunc]
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*turn.Load())(w, r) })
	s.Start()
	t.Cleanup(s.Close)
	a := agent(t, Settings{HTTPAddr: s.URL})
	for range 3 {
		h := blocking(queries, &protocol)
		turn.Store(&h)
		query(t, a, queries)
	}
	// A connection that is back a moment late costs a new one.
	if n := connections.Load(); n > 2*queries {
		t.Errorf("%d connections for %d queries at a time", n, queries)
	}
}

// TestConnectionsThatBreak: the limit on connections that are begun does not count
// those that are gone.
func TestConnectionsThatBreak(t *testing.T) {
	ca := newAuthority(t)
	s := serveTLS(t, ca, "127.0.0.1", func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/catalog/services" {
			<-r.Context().Done()
		}
	}, nil)
	a := agent(t, Settings{HTTPAddr: s.URL, CAFile: ca.write(t, t.TempDir())})
	for range 10 {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		var all sync.WaitGroup
		for range 300 {
			all.Go(func() {
				if _, _, err := a.API().Catalog().Services(new(api.QueryOptions).WithContext(ctx)); errors.Is(err, context.DeadlineExceeded) {
					t.Error("a query outlived its connection")
				}
			})
		}
		done := make(chan struct{})
		go func() {
			all.Wait()
			close(done)
		}()
		for open := true; open; {
			s.CloseClientConnections()
			select {
			case <-done:
				open = false
			case <-time.After(time.Millisecond):
			}
		}
		if _, err := a.API().Raw().Write("/v1/x", nil, nil, new(api.WriteOptions).WithContext(ctx)); ctx.Err() != nil {
			t.Error(err)
		}
		cancel()
	}
}
