package mesh

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/scripts/consul"
)

// echo is a plain service that sends back what it is sent, with its name before it.
func echo(t testing.TB, name string, at netip.AddrPort) {
	t.Helper()
	l, err := net.Listen("tcp", at.String())
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go answer(l, name)
}

func answer(l net.Listener, name string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			fmt.Fprintf(c, "%s\n", name)
			_, _ = io.Copy(c, c)
		}()
	}
}

// serve registers an instance and is its sidecar: it takes the mesh's mutual TLS of
// callers from these agents' meshes, and does what echo does, by its id. Unlike
// "consul connect proxy" it goes on without its agent, and knows peers.
func serve(t testing.TB, a *consul.Agent, s consul.Service, callers ...*consul.Agent) {
	t.Helper()
	must(t, a.Register(t.Context(), s))
	leaf, err := a.Leaf(t.Context(), s.Name)
	must(t, err)
	roots, err := a.Roots(t.Context())
	must(t, err)
	for _, caller := range callers {
		more, err := caller.Roots(t.Context())
		must(t, err)
		roots.Pool.AppendCertsFromPEM(more.PEM)
	}
	l, err := net.Listen("tcp", netip.AddrPortFrom(s.Addr.Addr(), s.Sidecar).String())
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go answer(tls.NewListener(l, &tls.Config{
		Certificates: []tls.Certificate{leaf}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots.Pool,
	}), s.ID)
}

// instance is one of a service, at a host of the cluster's own in a datacenter.
func instance(c *consul.Cluster, name, id string, datacenter, host int) consul.Service {
	return consul.Service{Name: name, ID: id, Addr: netip.AddrPortFrom(c.Loopback(datacenter, host), 80), Sidecar: 20000}
}

// caller is how a client of the agent's mesh calls a service of its own or of a
// federated datacenter.
func caller(t testing.TB, a *consul.Agent, service, datacenter string) *tls.Config {
	t.Helper()
	roots, err := a.Roots(t.Context())
	must(t, err)
	config, err := a.ClientTLS(t.Context(), "client", roots.SNI(service, datacenter))
	must(t, err)
	return config
}

// open opens a connection of the mesh's mutual TLS by way of a gateway, and says who
// answered.
func open(ctx context.Context, via string, config *tls.Config) (net.Conn, string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", via)
	if err != nil {
		return nil, "", err
	}
	deadline, _ := ctx.Deadline()
	err = conn.SetDeadline(deadline)
	line := ""
	if err == nil {
		line, err = bufio.NewReader(conn).ReadString('\n')
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		conn.Close()
		return nil, "", err
	}
	return conn, strings.TrimSpace(line), nil
}

func call(ctx context.Context, via string, config *tls.Config) (string, error) {
	conn, who, err := open(ctx, via, config)
	if err != nil {
		return "", err
	}
	return who, conn.Close()
}

// answers waits until a call is answered by the service named.
func answers(t testing.TB, via string, config *tls.Config, want string) {
	t.Helper()
	eventually(t, "an answer of "+want+" by way of "+via, func() error { return answeredBy(t, via, config, want) })
}

func answeredBy(t testing.TB, via string, config *tls.Config, want string) error {
	got, err := call(t.Context(), via, config)
	if err == nil && got != want {
		err = fmt.Errorf("%q answered", got)
	}
	return err
}

// refused is no error if a call is refused by the gateway, which knows no such name.
func refused(t testing.TB, via string, config *tls.Config) error {
	who, err := call(t.Context(), via, config)
	switch {
	case err == nil:
		return fmt.Errorf("%q answered", who)
	case !strings.Contains(err.Error(), "unrecognized name"):
		return err
	}
	return nil
}

// follow waits until there is no error of any gateway, several times in a row, for
// there are choices among endpoints, and logs how long each took until then. What the
// mesh has is Consul's own error, to tell its time from the gateways'.
func follow(t testing.TB, what string, mesh func() error, gateways map[string]*gateway, ok func(*gateway) error) {
	t.Helper()
	all := map[string]func() error{"Consul": mesh}
	for source, g := range gateways {
		all[source] = func() error { return ok(g) }
	}
	begun := time.Now()
	took := map[string]time.Duration{}
	eventually(t, what, func() error {
		for range 8 {
			var errs []error
			for who, ok := range all {
				if err := ok(); err != nil {
					took[who] = time.Since(begun).Round(time.Millisecond)
					errs = append(errs, fmt.Errorf("by %s: %w", who, err))
				}
			}
			if len(errs) > 0 {
				return errors.Join(errs...)
			}
		}
		return nil
	})
	t.Logf("%s: the last that did not know was at %v", what, took)
}

// has is no error if Consul itself would send callers of a service to these addresses,
// and no others.
func has(t testing.TB, a *consul.Agent, service string, want ...netip.Addr) func() error {
	return func() error {
		instances, _, err := a.Client().Health().Connect(service, "", true, nil)
		if err != nil {
			return err
		}
		var got []netip.Addr
		for _, i := range instances {
			addr, err := netip.ParseAddr(i.Service.Address)
			must(t, err)
			got = append(got, addr)
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("it has %v", got)
		}
		return nil
	}
}

// load is short calls by way of a gateway, one after the other.
type load struct {
	t      testing.TB
	ended  chan struct{}
	cancel context.CancelFunc
	once   sync.Once
	calls  atomic.Int64
	failed error // the first of them
}

// startLoad calls until the load is stopped.
func startLoad(t testing.TB, via string, config *tls.Config) *load {
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{t: t, ended: make(chan struct{}), cancel: cancel}
	go func() {
		defer close(l.ended)
		for ; ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
			if _, err := call(context.WithoutCancel(ctx), via, config); err != nil && l.failed == nil {
				l.failed = fmt.Errorf("call %d by way of %s: %w", l.calls.Load(), via, err)
			}
			l.calls.Add(1)
		}
	}()
	t.Cleanup(l.stop)
	return l
}

// more waits for so many more calls.
func (l *load) more(n int64) {
	l.t.Helper()
	want := l.calls.Load() + n
	eventually(l.t, "more calls", func() error {
		if l.calls.Load() < want {
			return errors.New("too few yet")
		}
		return nil
	})
}

// stop ends it, and the test has failed if any call has.
func (l *load) stop() {
	l.t.Helper()
	l.once.Do(func() {
		l.cancel()
		<-l.ended
		if l.failed != nil {
			l.t.Error(l.failed)
		}
		l.t.Logf("%d calls", l.calls.Load())
	})
}
