package accesslog

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/userspace/flow"
	"sluice/userspace/route"
)

// patience is how long a test waits for what must come.
const patience = time.Minute

// quiet is for tests in which nothing goes wrong with the log.
var quiet = slog.New(slog.DiscardHandler)

// carried is a flow that a path carried to its end.
func carried(id uint64) *flow.Flow {
	f := &flow.Flow{
		ID:       id,
		Local:    netip.MustParseAddrPort("192.0.2.1:8443"),
		Peer:     netip.MustParseAddrPort("198.51.100.2:56324"),
		Source:   netip.MustParseAddrPort("198.51.100.2:56324"),
		Start:    time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		SNI:      "api.default.dc2.internal.test.consul",
		ALPN:     "h2",
		Version:  0x0304,
		Route:    &route.Route{Name: "*.dc2.internal.test.consul"},
		Cluster:  &route.Cluster{Name: "dc2"},
		Upstream: netip.MustParseAddrPort("[2001:db8::3]:8443"),
		Attempts: 2,
		Path:     "splice",
		HelloIn:  1500 * time.Microsecond,
		Connect:  250*time.Microsecond + 400,
		Duration: 2 * time.Second,
		End:      flow.Closed,
	}
	f.Sent.Store(1234)
	f.Received.Store(5 << 40)
	return f
}

// start opens a log that the test closes, if nobody did before.
func start(t testing.TB, place, format string, report *slog.Logger) *Log {
	t.Helper()
	l, err := Open(place, format, report)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		l.Close(ctx) // those that are stuck stay so
	})
	return l
}

func finish(t testing.TB, l *Log) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := l.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// eventually waits until what holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never came: %s", what)
		}
	}
}

// within fails if f does not come back.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%s blocks", what)
	}
}

func temp(t testing.TB) string { return filepath.Join(t.TempDir(), "access.log") }

// content is what a file has in it, "" if there is none.
func content(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(b)
}

// reports records what is said about the log itself.
type reports struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (r *reports) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(r, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
}

func (r *reports) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.Write(b)
}

func (r *reports) lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Split(strings.TrimSuffix(r.buf.String(), "\n"), "\n")
}
