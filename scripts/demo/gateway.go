package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sluice/scripts/lab"
)

// gateway is one process of Sluice in its namespace.
type gateway struct {
	name   string
	ns     *lab.Namespace
	listen []netip.AddrPort // IPv4, IPv6
	routes string           // path of its table
	table  string           // what is in it
	access string           // path of its access log
	log    string           // path of what else it says
	cmd    *exec.Cmd
	ended  chan error // its end, once
	seen   int        // flows of the access log already read
	client *http.Client
}

func newGateway(l *lab.Lab, ns *lab.Namespace, sluice string) *gateway {
	file := func(name string) string { return filepath.Join(l.Dir, ns.Name+name) }
	g := &gateway{
		name: ns.Name,
		ns:   ns,
		listen: []netip.AddrPort{
			netip.AddrPortFrom(ns.Left.IPv4, port),
			netip.AddrPortFrom(ns.Left.IPv6, port),
		},
		routes: file(".hcl"),
		access: file("-access.log"),
		log:    file(".log"),
		ended:  make(chan error, 1),
		client: &http.Client{
			Timeout:   patience,
			Transport: &http.Transport{DialContext: ns.Dial, DisableKeepAlives: true},
		},
	}
	g.cmd = daemon(sluice, "gateway",
		"-listen", fmt.Sprintf("%s,%s", g.listen[0], g.listen[1]),
		"-routes", g.routes,
		"-metrics-bind", metricsBind,
		"-log-format", "json",
		"-access-log", g.access,
		"-drain-timeout", "5s")
	return g
}

func (g *gateway) start() error {
	log, err := os.Create(g.log)
	if err != nil {
		return err
	}
	defer log.Close()
	g.cmd.Stdout, g.cmd.Stderr = log, log
	if err := g.ns.Start(g.cmd); err != nil {
		return fmt.Errorf("start %s's gateway: %w", g.name, err)
	}
	go func() { g.ended <- g.cmd.Wait() }()
	return nil
}

// ready waits until the gateway listens and has its table.
func (g *gateway) ready(ctx context.Context) error {
	var last error
	err := poll(ctx, func() (bool, error) {
		select {
		case err := <-g.ended:
			g.ended <- err
			return false, fmt.Errorf("%s's gateway ended at once (%v)", g.name, err)
		default:
		}
		_, last = g.get(ctx, "/readyz")
		return last == nil, nil
	})
	if err == errPatience {
		return fmt.Errorf("%s's gateway is not ready after %v: %w", g.name, patience, last)
	}
	return err
}

// get fetches a page of the gateway's metrics server.
func (g *gateway) get(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+metricsBind+path, nil)
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

// flowLine is what the demo reads of a line of the access log.
type flowLine struct {
	raw      string
	fields   map[string]any // all of it; numbers as written
	Msg      string
	SNI      string
	Endpoint string
	Reason   string
	Sent     uint64 // bytes from the client's side to the server's
	Received uint64
}

// flow waits for the next flow to end and returns its line.
func (g *gateway) flow(ctx context.Context) (*flowLine, error) {
	var line *flowLine
	err := poll(ctx, func() (bool, error) {
		lines, err := readFlows(g.access)
		if err != nil || len(lines) <= g.seen {
			return false, err
		}
		line = lines[g.seen]
		return true, nil
	})
	if err == errPatience {
		return nil, fmt.Errorf("no line in %s's access log %v after the connection ended", g.name, patience)
	}
	if err != nil {
		return nil, err
	}
	g.seen++
	return line, nil
}

// readFlows returns the flows in an access log; a line not wholly written yet is
// left out.
func readFlows(path string) ([]*flowLine, error) {
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var flows []*flowLine
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		f := &flowLine{raw: strings.TrimSpace(string(line))}
		if err := json.Unmarshal(line, f); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", path, err, line)
		}
		numbers := json.NewDecoder(bytes.NewReader(line))
		numbers.UseNumber()
		if err := numbers.Decode(&f.fields); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", path, err, line)
		}
		if f.Msg == "flow" {
			flows = append(flows, f)
		}
	}
	return flows, nil
}

// stop asks the gateway to end, and returns its exit status as an error.
func (g *gateway) stop() error {
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop %s's gateway: %w", g.name, err)
	}
	select {
	case err := <-g.ended:
		if err != nil {
			return fmt.Errorf("%s's gateway on SIGTERM: %w", g.name, err)
		}
		return nil
	case <-time.After(patience):
		return fmt.Errorf("%s's gateway is still there %v after SIGTERM", g.name, patience)
	}
}
