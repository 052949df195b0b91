package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sluice/scripts/consul"
	"sluice/scripts/lab"
	"sluice/scripts/show"
)

const (
	service     = "mesh-gateway" // what the gateways are registered as
	gatewayPort = 8443
	sidecarPort = 20000
	apiPort     = 8080
)

// site is the lab with all that runs in it.
type site struct {
	show.Printer
	lab     *lab.Lab
	sluice  string
	consul  string // the binary
	keep    bool
	bpf     string // a file system of the lab's own, for the gateways' pins
	cluster *consul.Cluster
	one     *datacenter
	two     *datacenter
	roots   *consul.Roots
	nginx   *exec.Cmd
	served  chan error // the end of nginx, once
}

// datacenter is what one of the two has.
type datacenter struct {
	name    string
	host    string // name of the agent's namespace
	agent   *consul.Agent
	gateway *show.Gateway
	lan     netip.AddrPort // the gateway's address for its own datacenter
	wan     netip.AddrPort // and for the other one
	token   string         // path of the gateway's
	state   string         // its -state-dir
	socket  string         // its -admin-socket
}

// newSite builds the network; nothing runs yet.
func newSite(out io.Writer, name, sluice, binary string, keep bool) (*site, error) {
	l, err := lab.New(name, lab.Options{
		Chain: []string{"client", "consul1", "gateway1", "gateway2", "consul2", "server"},
	})
	if err != nil {
		return nil, err
	}
	s := &site{lab: l, sluice: sluice, consul: binary, keep: keep}
	s.Out, s.Hide = out, []string{l.Dir + "/", "", sluice, "sluice", binary, "consul"}
	if s.bpf, err = l.BPF(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	// The link between the gateways is the WAN.
	s.one = s.datacenter("dc1", "consul1", "gateway1", l.NS("gateway1").Left.IPv4, l.NS("gateway1").Right.IPv4)
	s.two = s.datacenter("dc2", "consul2", "gateway2", l.NS("gateway2").Right.IPv4, l.NS("gateway2").Left.IPv4)
	return s, nil
}

func (s *site) datacenter(name, host, gateway string, lan, wan netip.Addr) *datacenter {
	return &datacenter{
		name: name, host: host,
		lan:   netip.AddrPortFrom(lan, gatewayPort),
		wan:   netip.AddrPortFrom(wan, gatewayPort),
		token: s.file(gateway + ".token"),
		state: s.file(gateway),
		// Beside the host's own sockets it would stay there, and might be in their way.
		socket: s.file(gateway + ".sock"),
	}
}

func (s *site) file(name string) string { return filepath.Join(s.lab.Dir, name) }

// write writes a file of the lab.
func (s *site) write(name, text string) error {
	return os.WriteFile(s.file(name), []byte(text), 0o600)
}

// startConsul starts the two datacenters, federated, with ACLs and TLS.
func (s *site) startConsul(ctx context.Context) (err error) {
	host := func(name string, link *lab.Link) consul.Host {
		return consul.Host{Namespace: s.lab.NS(name), Addr: link.IPv4}
	}
	s.cluster, err = consul.TwoDatacenters(ctx, consul.Settings{
		Hosts: []consul.Host{
			host("consul1", s.lab.NS("consul1").Left),
			host("consul2", s.lab.NS("consul2").Left),
		},
		Dir: s.lab.Dir, ACL: true, TLS: true, Outlive: s.keep,
	})
	if err != nil {
		return err
	}
	s.one.agent, s.two.agent = s.cluster.Agents[0], s.cluster.Agents[1]
	// Under its usual name, whatever that of the one that was built.
	if err := os.Symlink(s.consul, s.file("consul")); err != nil {
		return err
	}
	if s.roots, err = s.one.agent.Roots(ctx); err != nil {
		return err
	}
	s.Hide = append(s.Hide, s.roots.TrustDomain, "$TD", s.cluster.Token, "$TOKEN")
	return nil
}

// operate runs Consul's own command line beside an agent, as its operator, and shows
// it.
func (s *site) operate(ctx context.Context, dc *datacenter, args ...string) (string, error) {
	s.Command(dc.host, append([]string{"consul"}, args...)...)
	cmd := exec.CommandContext(ctx, s.consul, args...)
	cmd.Env = append(clean(os.Environ()), dc.agent.Env()...)
	cmd.Env = append(cmd.Env, "CONSUL_HTTP_TOKEN="+s.cluster.Token)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := s.lab.NS(dc.host).Run(cmd); err != nil {
		return "", fmt.Errorf("consul %s: %w: %s", strings.Join(args, " "), err, said.String())
	}
	return said.String(), nil
}

// clean is an environment without what is meant for other agents and gateways.
func clean(env []string) []string {
	var rest []string
	for _, e := range env {
		if !strings.HasPrefix(e, "CONSUL_") && !strings.HasPrefix(e, "SLUICE_") {
			rest = append(rest, e)
		}
	}
	return rest
}

// startNginx starts the service that is called, which knows nothing of the mesh.
func (s *site) startNginx() error {
	conf := strings.NewReplacer("DIR", s.lab.Dir, "PORT", fmt.Sprint(apiPort)).Replace(nginxConf)
	if err := s.write("nginx.conf", conf); err != nil {
		return err
	}
	log, err := os.OpenFile(s.file("nginx.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	s.nginx = show.Daemon("nginx", "-p", s.lab.Dir, "-e", log.Name(), "-c", s.file("nginx.conf"))
	s.nginx.Stdout, s.nginx.Stderr = log, log
	if err := s.lab.NS("server").Start(s.nginx); err != nil {
		return fmt.Errorf("start nginx: %w", err)
	}
	s.served = make(chan error, 1)
	go func() { s.served <- s.nginx.Wait() }()
	return nil
}

const greeting = "Hello from api in dc2"

const nginxConf = `user root;
daemon off;
worker_processes 1;
pid DIR/nginx.pid;
error_log DIR/nginx.log;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path DIR/body;
  proxy_temp_path DIR/proxy;
  fastcgi_temp_path DIR/fastcgi;
  uwsgi_temp_path DIR/uwsgi;
  scgi_temp_path DIR/scgi;
  server {
    listen 127.0.0.1:PORT;
    default_type text/plain;
    return 200 "` + greeting + `\n";
  }
}
`

// tellLogs shows the end of each log, for the one who looks for a failure's reason.
func (s *site) tellLogs() {
	logs := []string{"gateway1.log", "gateway2.log", "nginx.log"}
	for _, node := range []string{"srv-dc1", "srv-dc2"} {
		logs = append(logs, node+"/agent.log", node+"/sidecar-api.log")
	}
	for _, name := range logs {
		text, err := os.ReadFile(s.file(name))
		if err != nil || len(text) == 0 {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		s.Say("\nThe end of %s:", name)
		s.Quote(strings.Join(lines[max(0, len(lines)-10):], "\n"))
	}
}

// close ends what runs and removes the lab. nginx is asked first, for it has children
// that it must wait for.
func (s *site) close() error {
	if s.served != nil {
		s.nginx.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.served:
		case <-time.After(show.Patience):
		}
	}
	var err error
	if s.cluster != nil {
		err = s.cluster.Stop()
	}
	return errors.Join(err, s.lab.Close())
}
