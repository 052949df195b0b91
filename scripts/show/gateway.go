package show

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sluice/scripts/lab"
)

// MetricsBind is where each gateway serves its metrics, in its own namespace.
const MetricsBind = "127.0.0.1:9102"

// Gateway is one process of Sluice in its namespace.
type Gateway struct {
	Name   string
	NS     *lab.Namespace
	Cmd    *exec.Cmd
	Access string // path of its access log
	Log    string // path of what else it says

	ended  chan error // its end, once
	seen   int        // flows of the access log already read
	client *http.Client
}

// NewGateway makes ready to start "sluice gateway" with those arguments, and others
// by which it can be seen into.
func NewGateway(l *lab.Lab, ns *lab.Namespace, sluice string, args ...string) *Gateway {
	g := &Gateway{
		Name:   ns.Name,
		NS:     ns,
		Access: filepath.Join(l.Dir, ns.Name+"-access.log"),
		Log:    filepath.Join(l.Dir, ns.Name+".log"),
		ended:  make(chan error, 1),
		client: &http.Client{
			Timeout:   Patience,
			Transport: &http.Transport{DialContext: ns.Dial, DisableKeepAlives: true},
		},
	}
	g.Cmd = Daemon(sluice, append(append([]string{"gateway"}, args...),
		"-instance", ns.Name,
		"-metrics-bind", MetricsBind,
		"-log-format", "json",
		"-access-log", g.Access)...)
	return g
}

// Start starts the gateway and does not wait for it.
func (g *Gateway) Start() error {
	log, err := os.Create(g.Log)
	if err != nil {
		return err
	}
	defer log.Close()
	g.Cmd.Stdout, g.Cmd.Stderr = log, log
	if err := g.NS.Start(g.Cmd); err != nil {
		return fmt.Errorf("start %s's gateway: %w", g.Name, err)
	}
	go func() { g.ended <- g.Cmd.Wait() }()
	return nil
}

// Ready waits until the gateway listens and has its table.
func (g *Gateway) Ready(ctx context.Context) error {
	var last error
	err := Poll(ctx, func() (bool, error) {
		select {
		case err := <-g.ended:
			g.ended <- err
			return false, fmt.Errorf("%s's gateway ended at once (%v)", g.Name, err)
		default:
		}
		_, last = g.Get(ctx, "/readyz")
		return last == nil, nil
	})
	if err == ErrPatience {
		return fmt.Errorf("%s's gateway is not ready after %v: %w", g.Name, Patience, last)
	}
	return err
}

// Get fetches a page of the gateway's metrics server.
func (g *Gateway) Get(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+MetricsBind+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := g.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, resp.Status, strings.TrimSpace(string(body)))
	}
	return string(body), err
}

// Flow waits for the next flow to end and returns its line.
func (g *Gateway) Flow(ctx context.Context) (*Flow, error) {
	var line *Flow
	err := Poll(ctx, func() (bool, error) {
		lines, err := ReadFlows(g.Access)
		if err != nil || len(lines) <= g.seen {
			return false, err
		}
		line = lines[g.seen]
		return true, nil
	})
	if err == ErrPatience {
		return nil, fmt.Errorf("no line in %s's access log %v after the connection ended", g.Name, Patience)
	}
	if err != nil {
		return nil, err
	}
	g.seen++
	return line, nil
}

// Stop asks the gateway to end, and returns its exit status as an error.
func (g *Gateway) Stop() error {
	if err := g.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop %s's gateway: %w", g.Name, err)
	}
	select {
	case err := <-g.ended:
		if err != nil {
			return fmt.Errorf("%s's gateway on SIGTERM: %w", g.Name, err)
		}
		return nil
	case <-time.After(Patience):
		return fmt.Errorf("%s's gateway is still there %v after SIGTERM", g.Name, Patience)
	}
}
