package sockmap

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/scripts/lab/pki"
	"sluice/userspace/admission"
	"sluice/userspace/flow"
	"sluice/userspace/gateway"
	"sluice/userspace/poll"
	"sluice/userspace/relay"
	"sluice/userspace/route"
	"sluice/userspace/sockmap"
)

var _ gateway.Path = (*sockmap.Path)(nil)

// observer remembers the paths and ends of flows.
type observer struct {
	mu   sync.Mutex
	ends map[string]int
}

func (o *observer) Ended(f *flow.Flow) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ends[f.Path+" "+f.End.String()]++
}

func (*observer) ConnectAttempt()        {}
func (*observer) ConnectFailure(error)   {}
func (*observer) AcceptError(error)      {}
func (*observer) RTT(_, _ time.Duration) {}

// TestGateway has whole gateways hand flows over at once after the hello, which
// nobody has read by then.
func TestGateway(t *testing.T) {
	data := load(t, commonFlows)
	engine, err := sockmap.New(data, sockmap.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ca, err := pki.New()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Leaf("web", "dc1")
	if err != nil {
		t.Fatal(err)
	}
	name := leaf.SNI()
	server := serveTLS(t, leaf.ServerTLS())
	table, err := route.Replace(nil, "test", []*route.Route{{Name: name, Cluster: name}}, []*route.Cluster{{
		Name:      name,
		Endpoints: []route.Endpoint{{Addrs: []netip.AddrPort{netip.MustParseAddrPort(server.Addr().String())}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	store := new(route.Store)
	store.Swap(table)
	gate, err := admission.New(admission.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	seen := &observer{ends: map[string]int{}}
	var workers atomic.Int32
	g, err := gateway.New(gateway.Config{
		Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, Workers: 1,
		HelloTimeout: patience, HelloMax: 16 << 10, ConnectTimeout: patience, ConnectAttempts: 1, IdleTimeout: patience,
	}, gateway.Parts{
		Table: store, Gate: gate, Observer: seen, Log: slog.New(slog.DiscardHandler),
		Paths: func(loop *poll.Loop) ([]gateway.Path, error) {
			splice, err := relay.New(loop, 0)
			if err != nil {
				return nil, err
			}
			path, err := engine.Path(loop, int(workers.Add(1)-1), splice)
			return []gateway.Path{path, splice}, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- g.Run() }()

	const flows, n = 50, 300_000
	var clients []func() error
	for i := range flows {
		clients = append(clients, func() error { return echoTLS(g.Addrs()[0].String(), leaf.ClientTLS(name), byte(i), n) })
	}
	parallel(t, clients...)
	eventually(t, "flows to end", func() bool { return g.Active() == 0 })
	sent, received := g.Bytes()
	if least := uint64(flows * n); sent < least || received < least {
		t.Errorf("the gateway counts %d bytes sent and %d received, less than %d", sent, received, least)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	g.Drain(ctx)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(seen.ends) != 1 || seen.ends["sockmap closed"] != flows {
		t.Errorf("flows ended as %v", seen.ends)
	}
}

// serveTLS is a server that sends back what it gets.
func serveTLS(t *testing.T, tlsConfig *tls.Config) net.Listener {
	t.Helper()
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	plain, err := config.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := tls.NewListener(plain, tlsConfig)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l
}

// echoTLS sends n bytes through the gateway and gets them back.
func echoTLS(addr string, config *tls.Config, seed byte, n int) error {
	c, err := tls.Dial("tcp4", addr, config)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer c.Close()
	sent := make(chan error, 1)
	go func() {
		err := transmit(c, newSource(seed), n, 20_000)
		if err == nil {
			err = c.CloseWrite()
		}
		sent <- err
	}()
	if err := expectEnd(c, newSource(seed), n); err != nil {
		return err
	}
	return <-sent
}
