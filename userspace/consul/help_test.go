package consul

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/userspace/route"
)

// soon is how long what must come may take on a busy machine.
const soon = 30 * time.Second

// sourceRun is a source at work on a fake agent.
type sourceRun struct {
	*Source
	t    testing.TB
	log  *logBuffer
	stop func() // ends it, and waits for that

	mu    sync.Mutex
	table *route.Table
	n     int // tables published
}

// start runs a source until the test ends. Streams settle at once and losses stay,
// unless changed.
func (a *fakeAgent) start(change func(*Source)) *sourceRun {
	a.t.Helper()
	log := new(logBuffer)
	s, err := New(Options{
		Client: a.client(), Connections: -1, Datacenter: "dc1", Domain: "consul.",
		Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		a.t.Fatal(err)
	}
	s.times.settle, s.times.hold = time.Nanosecond, time.Hour
	s.times.retry, s.times.retryMax = 10*time.Millisecond, 50*time.Millisecond
	s.times.poll, s.times.pace = 20*time.Millisecond, time.Millisecond
	if change != nil {
		change(s)
	}
	r := &sourceRun{Source: s, t: a.t, log: log}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- s.Run(ctx, func(t *route.Table) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.table, r.n = t, r.n+1
		})
	}()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			a.t.Error(err)
		}
	})
	a.t.Cleanup(func() {
		r.stop()
		if a.t.Failed() {
			a.t.Logf("log:\n%s", log)
		}
	})
	return r
}

func (r *sourceRun) now() (*route.Table, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.table, r.n
}

// has waits until the table's clusters with endpoints are these, each
// "name=addr,addr", with the rest of a service's name left out.
func (r *sourceRun) has(want ...string) {
	r.t.Helper()
	want = slices.Sorted(slices.Values(want))
	var got []string
	eventually(r.t, fmt.Sprintf("a table with %v", want), func() bool {
		t, _ := r.now()
		got = short(t)
		return t != nil && slices.Equal(got, want)
	}, func() any { return got })
}

func short(t *route.Table) []string {
	got := []string{}
	if t == nil {
		return got
	}
	for c := range t.Clusters() {
		var ends []string
		for _, e := range c.Endpoints {
			text := e.String()
			if e.Health == route.Critical {
				text += "!"
			}
			ends = append(ends, text)
		}
		name := strings.TrimSuffix(c.Name, ".default.dc1.internal."+trustDomain)
		got = append(got, strings.TrimSuffix(name, "."+trustDomain)+"="+strings.Join(ends, ","))
	}
	slices.Sort(got)
	return got
}

// logged waits until the log has the text.
func (r *sourceRun) logged(text string) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%q in the log", text), func() bool { return strings.Contains(r.log.String(), text) }, nil)
}

func eventually(t testing.TB, what string, ok func() bool, seen func() any) {
	t.Helper()
	for end := time.Now().Add(soon); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			if seen != nil {
				what += fmt.Sprintf("; at last: %v", seen())
			}
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
