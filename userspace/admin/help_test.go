package admin

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"sluice/userspace/admission"
	"sluice/userspace/gateway"
	"sluice/userspace/route"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in %v: %s", patience, what)
		}
	}
}

// fake is an Agent that remembers what it was told.
type fake struct {
	status Status
	flows  []Flow
	fail   error                       // of all methods; of Flows, after the last one
	hold   func(context.Context) error // called by Flows before each flow, if not nil

	mu    sync.Mutex
	asked []any
}

func (f *fake) told(v any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, v)
}

// last is what the agent was told last.
func (f *fake) last() any {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.asked) == 0 {
		return nil
	}
	return f.asked[len(f.asked)-1]
}

func (f *fake) Status(context.Context) (*Status, error) {
	if f.fail != nil {
		return nil, f.fail
	}
	return &f.status, nil
}

func (f *fake) Flows(ctx context.Context, which gateway.Selection, yield func(*Flow) error) error {
	f.told(which)
	for i := range f.flows {
		if f.hold != nil {
			if err := f.hold(ctx); err != nil {
				return err
			}
		}
		if err := yield(&f.flows[i]); err != nil {
			return err
		}
	}
	return f.fail
}

func (f *fake) Kill(_ context.Context, which gateway.Selection) (int, error) {
	f.told(which)
	return 3, f.fail
}

func (f *fake) Source(_ context.Context, address netip.Addr) (*admission.Standing, error) {
	f.told(address)
	return &admission.Standing{Address: address, Max: 3}, f.fail
}

func (f *fake) Drain(_ context.Context, deadline time.Duration) error {
	f.told(deadline)
	return f.fail
}

func (f *fake) Reload(context.Context) (string, error) {
	f.told("reload")
	return "routes read again", f.fail
}

func (f *fake) SetPolicy(_ context.Context, name string, o route.Options) error {
	f.told(Policy{name, o.Path, o.Credit, o.MaxFlows})
	return f.fail
}

// listenFor serves the fake at a socket of its own until the test ends, and then checks
// that no goroutine is left.
func listenFor(t *testing.T, f *fake) (*Client, string) {
	t.Helper()
	before := runtime.NumGoroutine()
	path := filepath.Join(t.TempDir(), "a.sock")
	s, err := Listen(Options{Socket: path, Log: slog.New(slog.DiscardHandler)}, f)
	if err != nil {
		t.Fatal(err)
	}
	c := NewClient(path)
	t.Cleanup(func() {
		c.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
		eventually(t, "goroutines back to what they were", func() bool { return runtime.NumGoroutine() <= before })
	})
	return c, path
}

var errAgent = errors.New("the agent's own error")

func someFlow(id uint64) Flow {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	return Flow{
		ID: id, Source: netip.MustParseAddrPort("10.0.0.1:1"), Peer: netip.MustParseAddrPort("[2001:db8::1]:2"),
		Local: netip.MustParseAddrPort("10.0.0.2:8443"), SNI: "web.test", Route: "*.test", Cluster: "web", Endpoint: "10.0.0.3:80",
		From: netip.MustParseAddrPort("10.0.0.2:999"), Upstream: netip.MustParseAddrPort("10.0.0.3:80"), Path: "splice",
		State: "carried", Sent: 1, Received: 2, SentRate: 3.5, ReceivedRate: 4, Start: at, Active: at.Add(time.Second),
		Downstream: &TCP{State: "established", RTT: 0.001, Retransmits: 5, Cwnd: 10}, UpstreamTCP: &TCP{State: "close-wait", NotSent: 6},
	}
}
