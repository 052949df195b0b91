package registration

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

// patience is for what has to come some time on a busy machine.
const patience = 60 * time.Second

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// logged is what was logged, as text.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logged) has(text string) bool       { return strings.Contains(l.String(), text) }
func (l *logged) times(text string) int      { return strings.Count(l.String(), text) }
func (l *logged) logger() *slog.Logger       { return slog.New(slog.NewTextHandler(l, nil)) }
func (l *logged) show(t testing.TB)          { t.Helper(); t.Cleanup(func() { dump(t, l) }) }
func (l *logged) waits(s string) func() bool { return func() bool { return l.has(s) } }

func dump(t testing.TB, l *logged) {
	if t.Failed() {
		t.Logf("log:\n%s", l)
	}
}

// quick is for tests.
var quick = timing{
	request:    5 * time.Second,
	wait:       time.Minute,
	retry:      5 * time.Millisecond,
	retryMost:  50 * time.Millisecond,
	repair:     5 * time.Millisecond,
	repairMost: 50 * time.Millisecond,
	calm:       time.Minute,
	settle:     100 * time.Millisecond,
	gap:        time.Millisecond,
}

// flags are the settings that the arguments make.
func flags(t testing.TB, args ...string) Settings {
	t.Helper()
	s, err := parse(args...)
	must(t, err)
	return s
}

func parse(args ...string) (Settings, error) {
	var s Settings
	fs := flag.NewFlagSet("test", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	s.Flags(fs)
	return s, fs.Parse(args)
}

// registrar is one that is in a hurry.
func registrar(t testing.TB, client *api.Client, s Settings) (*Registrar, *logged) {
	t.Helper()
	log := &logged{}
	log.show(t)
	r, err := New(s, client, log.logger())
	must(t, err)
	r.times = quick
	r.watch.pace = quick.pace()
	return r, log
}

// start is Start, bounded in time.
func start(t testing.TB, r *Registrar) Service {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := r.Start(ctx)
	must(t, err)
	return s
}

// running is a Run in the background, until the test ends.
type running struct {
	mu   sync.Mutex
	seen []Service
	over chan struct{}
	stop context.CancelFunc
}

func run(t testing.TB, r *Registrar) *running {
	ctx, cancel := context.WithCancel(t.Context())
	u := &running{over: make(chan struct{}), stop: cancel}
	go func() {
		defer close(u.over)
		r.Run(ctx, func(s Service) {
			u.mu.Lock()
			defer u.mu.Unlock()
			u.seen = append(u.seen, s)
		})
	}()
	t.Cleanup(func() {
		cancel()
		u.wait(t)
	})
	return u
}

// wait waits until Run has returned.
func (u *running) wait(t testing.TB) {
	t.Helper()
	select {
	case <-u.over:
	case <-time.After(patience):
		t.Error("Run does not return")
	}
}

func (u *running) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.seen)
}

func (u *running) last() Service {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.seen) == 0 {
		return Service{}
	}
	return u.seen[len(u.seen)-1]
}

// tree is JSON without types, to compare.
func tree(t testing.TB, text []byte) (v any) {
	t.Helper()
	must(t, json.Unmarshal(text, &v))
	return v
}
