package consul

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"sluice/scripts/lab"
)

// Sidecar is a running "consul connect proxy": the sidecar of a service's
// instance, which takes the mesh's mutual TLS, asks its agent whether the caller
// may, and passes plain bytes on to the instance.
type Sidecar struct {
	Addr string // host:port where it listens

	process *process
}

// ConnectProxy starts the sidecar of an instance that is registered with one, in
// the namespace, and waits until it accepts. It ends with the agent's Stop at the
// latest.
func (a *Agent) ConnectProxy(ctx context.Context, ns *lab.Namespace, instance string) (*Sidecar, error) {
	service, _, err := a.client.Agent().Service(SidecarID(instance), query(ctx))
	if err != nil {
		return nil, fmt.Errorf("find the sidecar of %s: %w", instance, err)
	}
	cmd := exec.Command(a.Binary, "connect", "proxy", "-sidecar-for", instance, "-http-addr", "http://"+a.HTTP())
	cmd.Env = append(os.Environ(), "CONSUL_HTTP_TOKEN="+a.Token)
	p, err := spawn(ns, "sidecar of "+instance, filepath.Join(a.Dir, "sidecar-"+instance+".log"), cmd, a.Outlive)
	if err != nil {
		return nil, err
	}
	s := &Sidecar{Addr: net.JoinHostPort(service.Address, strconv.Itoa(service.Port)), process: p}
	a.mu.Lock()
	a.sidecars = append(a.sidecars, s)
	a.mu.Unlock()

	err = eventually(ctx, p, func(ctx context.Context) error {
		dial := (&net.Dialer{}).DialContext
		if ns != nil {
			dial = ns.Dial
		}
		conn, err := dial(ctx, "tcp", s.Addr)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	if err != nil {
		return nil, fmt.Errorf("wait for the sidecar of %s to listen: %w\nThe end of its log:\n%s", instance, err, p.tail())
	}
	return s, nil
}

// Stop ends the sidecar at once. A second Stop does nothing.
func (s *Sidecar) Stop() error { return s.process.kill() }
