package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"sluice/scripts/lab"
)

var ctxBackground = context.Background()

// The server names that connections are routed by: of plain bytes after a hello, and
// of real TLS.
const (
	serverName = "web.default.dc1.internal.bench.consul"
	secureName = "tls.default.dc1.internal.bench.consul"
)

const (
	serverPort = 9000
	securePort = 9001
)

// site is where contenders are measured.
type site struct {
	*lab.Lab
	client, gateway, server *lab.Namespace
	bpf                     string // where a BPF file system is mounted
}

// newSite builds the lab and starts the server.
func newSite() (*site, error) {
	l, err := lab.New("sluice-bench", lab.Options{Chain: []string{"client", "gateway", "server"}})
	if err != nil {
		return nil, err
	}
	s := &site{Lab: l, client: l.NS("client"), gateway: l.NS("gateway"), server: l.NS("server")}
	if err := s.mount(); err != nil {
		l.Close()
		return nil, err
	}
	for _, ns := range l.Namespaces {
		if err := cubic(ns); err != nil {
			l.Close()
			return nil, err
		}
	}
	if _, err := s.start(s.server, "server", s.upstream(serverPort).String(), s.upstream(securePort).String()); err != nil {
		l.Close()
		return nil, err
	}
	return s, nil
}

// mount mounts a BPF file system for this run.
func (s *site) mount() error {
	s.bpf = filepath.Join(s.Dir, "bpf")
	if err := os.Mkdir(s.bpf, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("bpf", s.bpf, "bpf", 0, ""); err != nil {
		return fmt.Errorf("mount a BPF file system: %w", err)
	}
	return nil
}

// Close ends the site.
func (s *site) Close() error {
	_ = unix.Unmount(s.bpf, unix.MNT_DETACH)
	return s.Lab.Close()
}

// cubic has the namespace's sockets use the congestion control that most machines
// have. By route, since a namespace of its own may not choose it by sysctl everywhere.
func cubic(ns *lab.Namespace) error {
	routes, err := ns.Output(ctxBackground, "ip", "-4", "route", "show")
	if err != nil {
		return err
	}
	for line := range strings.Lines(routes) {
		args := append([]string{"-4", "route", "replace"}, strings.Fields(line)...)
		if _, err := ns.Output(ctxBackground, "ip", append(args, "congctl", "cubic")...); err != nil {
			return fmt.Errorf("choose cubic: %w", err)
		}
	}
	return nil
}

// upstream is where the server listens.
func (s *site) upstream(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(s.server.Left.IPv4, port)
}

// port is an address of the gateway's namespace that clients reach.
func (s *site) port(n uint16) netip.AddrPort { return netip.AddrPortFrom(s.gateway.Left.IPv4, n) }

// roleVariable, in the environment, has this program play a part in a process of its
// own.
const roleVariable = "SLUICE_BENCH_ROLE"

func role(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), roleVariable+"="+name)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// play runs this process's part, if it has one.
func play(args []string) (bool, error) {
	switch name := os.Getenv(roleVariable); name {
	case "":
		return false, nil
	case "server":
		return true, serve(args[0], args[1])
	case "copy":
		return true, copyProxy(args[0], args[1], args[2])
	case "hold":
		return true, hold(args[0])
	case "client":
		var o order
		if err := json.Unmarshal([]byte(args[0]), &o); err != nil {
			return true, err
		}
		m, err := o.run()
		if err != nil {
			return true, err
		}
		return true, json.NewEncoder(os.Stdout).Encode(m)
	default:
		return true, fmt.Errorf("no part is called %q", name)
	}
}

// start starts a part that says when it is ready.
func (s *site) start(ns *lab.Namespace, name string, args ...string) (*exec.Cmd, error) {
	cmd := role(name, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := ns.Start(cmd); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("start the %s: %w", name, errors.Join(err, cmd.Wait()))
	}
	if !strings.HasPrefix(line, "serving") {
		return nil, fmt.Errorf("start the %s: it says %q", name, line)
	}
	return cmd, nil
}

// load runs a client against an address.
func (s *site) load(o order) (measured, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return measured{}, err
	}
	cmd := role("client", string(text))
	var out strings.Builder
	cmd.Stdout = &out
	if err := s.client.Run(cmd); err != nil {
		return measured{}, fmt.Errorf("client: %w", err)
	}
	var m measured
	if err := json.Unmarshal([]byte(out.String()), &m); err != nil {
		return measured{}, fmt.Errorf("client: %w", err)
	}
	return m, nil
}
