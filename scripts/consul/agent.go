package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"
)

// Agent is a running "consul agent", and where to reach it. One goroutine at a time
// may kill, restart or stop it; the rest is for any number of them.
type Agent struct {
	Options // with what was left out filled in; Dir has config/, data/ and agent.log

	transport *http.Transport
	client    *api.Client
	process   atomic.Pointer[process]
	temporary bool // Dir is ours to remove

	mu       sync.Mutex
	sidecars []*Sidecar
}

// Start starts an agent. It does not wait until it is of use: see WaitHealthy.
func Start(ctx context.Context, opts Options) (*Agent, error) {
	a := &Agent{Options: opts.withDefaults()}
	if err := a.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("consul agent %s: %w", a.Node, err), a.Stop())
	}
	if err := a.Restart(); err != nil {
		return nil, errors.Join(err, a.Stop())
	}
	return a, nil
}

// prepare does all that comes before the process.
func (a *Agent) prepare(ctx context.Context) (err error) {
	if !a.Addr.IsValid() {
		return errors.New("has no address to bind to")
	}
	if a.GatewayWAN && a.CA == nil {
		return errors.New("federates through gateways, which go by the names of TLS, but has no CA")
	}
	if a.Binary == "" {
		if a.Binary, err = Binary(ctx, os.Stderr); err != nil {
			return err
		}
	}
	if a.Dir == "" {
		if a.Dir, err = os.MkdirTemp("", "sluice-consul-"+a.Node+"-"); err != nil {
			return err
		}
		a.temporary = true
	}
	if err := a.writeConfig(a.Dir); err != nil {
		return fmt.Errorf("write its configuration: %w", err)
	}
	a.transport = &http.Transport{MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute}
	if a.Namespace != nil {
		a.transport.DialContext = a.Namespace.Dial
	}
	a.client, err = api.NewClient(&api.Config{Address: a.HTTP(), Scheme: "http", Token: a.Token, Transport: a.transport})
	return err
}

// Restart starts an agent that was killed, or ended by itself, with the same
// configuration and data.
func (a *Agent) Restart() error {
	if p := a.process.Load(); p != nil && p.dead() == nil {
		return fmt.Errorf("consul agent %s: still runs", a.Node)
	}
	cmd := exec.Command(a.Binary, "agent", "-config-dir", filepath.Join(a.Dir, "config"))
	p, err := spawn(a.Namespace, "consul agent "+a.Node, filepath.Join(a.Dir, "agent.log"), cmd, a.Outlive)
	if err != nil {
		return err
	}
	a.process.Store(p)
	return nil
}

// Kill ends the agent at once (SIGKILL) and keeps its data for Restart. The others
// of its cluster are not told.
func (a *Agent) Kill() error {
	a.transport.CloseIdleConnections()
	return a.process.Load().kill()
}

// Stop ends the agent and its sidecars at once, and removes its files if they are
// in a temporary directory. A second Stop does nothing.
func (a *Agent) Stop() error {
	a.mu.Lock()
	sidecars := a.sidecars
	a.sidecars = nil
	a.mu.Unlock()
	var errs []error
	for _, s := range sidecars {
		errs = append(errs, s.Stop())
	}
	if a.process.Load() != nil {
		errs = append(errs, a.Kill())
	}
	if a.temporary {
		errs = append(errs, os.RemoveAll(a.Dir))
	}
	return errors.Join(errs...)
}

// HTTP is host:port of the agent's HTTP.
func (a *Agent) HTTP() string { return a.port(8500) }

// HTTPS is host:port of the agent's HTTPS, if it has a CA.
func (a *Agent) HTTPS() string { return a.port(8501) }

// GRPC is host:port of the agent's plain gRPC, where it serves xDS.
func (a *Agent) GRPC() string { return a.port(8502) }

// GRPCTLS is host:port of the agent's gRPC with TLS, if it has a CA.
func (a *Agent) GRPCTLS() string { return a.port(8503) }

// CAFile is the path of the certificate that the agent's own is signed with, if it
// has a CA.
func (a *Agent) CAFile() string { return filepath.Join(a.Dir, caFile) }

// Client is a client of the agent's HTTP, with the management token if there are
// ACLs, that works from any namespace.
func (a *Agent) Client() *api.Client { return a.client }

// ClientWith is Client with another token.
func (a *Agent) ClientWith(token string) (*api.Client, error) {
	return api.NewClient(&api.Config{Address: a.HTTP(), Scheme: "http", Token: token, Transport: a.transport})
}

// Env is how Consul's own programs, and Sluice, are told where the agent is, for
// exec.Cmd.Env: over TLS if it has that, and without a token.
func (a *Agent) Env() []string {
	if a.CA == nil {
		return []string{"CONSUL_HTTP_ADDR=http://" + a.HTTP(), "CONSUL_GRPC_ADDR=http://" + a.GRPC()}
	}
	return []string{
		"CONSUL_HTTP_ADDR=https://" + a.HTTPS(), "CONSUL_CACERT=" + a.CAFile(),
		"CONSUL_GRPC_ADDR=https://" + a.GRPCTLS(), "CONSUL_GRPC_CACERT=" + a.CAFile(),
	}
}

// PID is the number of the agent's process.
func (a *Agent) PID() int { return a.process.Load().cmd.Process.Pid }

// LogTail is the end of the agent's log.
func (a *Agent) LogTail() string {
	p := a.process.Load()
	if p == nil {
		return ""
	}
	return p.tail()
}
