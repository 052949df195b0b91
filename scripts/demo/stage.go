package main

import (
	"crypto/rand"
	"crypto/sha256"
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

	"sluice/scripts/lab"
	"sluice/scripts/lab/pki"
	"sluice/scripts/show"
)

const (
	port     = 8443     // of gateways and services
	bulkSize = 32 << 20 // bytes
)

// stage is the lab with all that runs in it.
type stage struct {
	show.Printer
	lab      *lab.Lab
	ca       *pki.CA
	api, web *pki.Leaf // of the service, and of its caller
	dc1, dc2 *gateway
	services []netip.AddrPort
	nginx    *exec.Cmd
	served   chan error        // the end of nginx, once
	bulk     [sha256.Size]byte // hash of the file served as /bulk
}

// newStage builds the lab and puts keys, tables and files in place; nothing runs
// yet.
func newStage(out io.Writer, sluice string) (*stage, error) {
	l, err := lab.New(prefix, lab.Options{})
	if err != nil {
		return nil, err
	}
	s := &stage{Printer: show.Printer{Out: out, Hide: []string{l.Dir + "/", "", sluice, "sluice"}}, lab: l}
	if err := s.furnish(sluice); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return s, nil
}

func (s *stage) furnish(sluice string) error {
	if err := s.certificates(); err != nil {
		return err
	}
	more := s.lab.NS("server").Left.More // IPv4 and IPv6 of .11, .12, .13
	for _, ip := range []netip.Addr{more[0], more[2], more[5]} {
		s.services = append(s.services, netip.AddrPortFrom(ip, port))
	}
	dc1, dc2 := s.lab.NS("dc1"), s.lab.NS("dc2")
	s.dc1 = newGateway(s.lab, dc1, sluice)
	s.dc2 = newGateway(s.lab, dc2, sluice)
	s.dc1.table = table(clusterTo{"*.dc2.internal." + s.ca.TrustDomain, "dc2", s.dc2.listen[:1]})
	s.dc2.table = table(clusterTo{s.api.SNI(), "api", s.services})
	for _, g := range []*gateway{s.dc1, s.dc2} {
		if err := os.WriteFile(g.routes, []byte(g.table), 0o644); err != nil {
			return err
		}
	}
	return s.nginxFiles()
}

// certificates makes the mesh's root, the service's leaf and the caller's.
func (s *stage) certificates() (err error) {
	if s.ca, err = pki.New(); err != nil {
		return err
	}
	s.Hide = append(s.Hide, s.ca.TrustDomain, "$TD")
	if _, err = s.ca.Write(s.lab.Dir); err != nil {
		return err
	}
	if s.api, err = s.ca.Leaf("api", "dc2"); err != nil {
		return err
	}
	if s.web, err = s.ca.Leaf("web", "dc1"); err != nil {
		return err
	}
	for _, leaf := range []*pki.Leaf{s.api, s.web} {
		if _, _, err = leaf.Write(s.lab.Dir); err != nil {
			return err
		}
	}
	return nil
}

// clusterTo is a table's one route, the cluster it leads to and its endpoints.
type clusterTo struct {
	name, cluster string
	endpoints     []netip.AddrPort
}

// table is a static table, as the gateway's -routes file has it.
func table(c clusterTo) string {
	var b strings.Builder
	fmt.Fprintf(&b, "route %q { cluster = %q }\n", c.name, c.cluster)
	fmt.Fprintf(&b, "cluster %q {\n", c.cluster)
	for _, e := range c.endpoints {
		fmt.Fprintf(&b, "  endpoint %q {}\n", e)
	}
	b.WriteString("}\n")
	return b.String()
}

// nginxConf has a server that asks for a client certificate of the mesh and
// answers with what it saw of the connection. Everything it writes is in the lab's
// directory, DIR.
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
LISTEN
    ssl_certificate DIR/api.pem;
    ssl_certificate_key DIR/api-key.pem;
    ssl_client_certificate DIR/ca.pem;
    ssl_verify_client on;
    ssl_protocols TLSv1.2 TLSv1.3;
    location = / {
      default_type text/plain;
      return 200 "server=$server_addr\nname=$ssl_server_name\nprotocol=$ssl_protocol\nverified=$ssl_client_verify\nclient=$ssl_client_escaped_cert\n";
    }
    location = /bulk { root DIR; default_type application/octet-stream; }
  }
}
`

// nginxFiles writes the server's configuration and the file that it serves.
func (s *stage) nginxFiles() error {
	var listen []string
	for _, a := range s.services {
		listen = append(listen, fmt.Sprintf("    listen %s ssl;", a))
	}
	conf := strings.NewReplacer("DIR", s.lab.Dir, "LISTEN", strings.Join(listen, "\n")).Replace(nginxConf)
	if err := os.WriteFile(s.file("nginx.conf"), []byte(conf), 0o644); err != nil {
		return err
	}
	data := make([]byte, bulkSize)
	rand.Read(data) // never fails
	s.bulk = sha256.Sum256(data)
	return os.WriteFile(s.file("bulk"), data, 0o644)
}

func (s *stage) file(name string) string { return filepath.Join(s.lab.Dir, name) }

// startNginx starts the server.
func (s *stage) startNginx() error {
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

// tellLogs shows the end of each log, for the one who looks for a failure's reason.
func (s *stage) tellLogs() {
	for _, name := range []string{"dc1.log", "dc2.log", "nginx.log"} {
		text, err := os.ReadFile(s.file(name))
		if err != nil || len(text) == 0 {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		s.Say("\nThe end of %s:", name)
		s.Quote(strings.Join(lines[max(0, len(lines)-10):], "\n"))
	}
}

// end stops the gateways as a service manager would.
func (s *stage) end() error {
	s.Step("SIGTERM: the gateways drain and end")
	for _, g := range []*gateway{s.dc1, s.dc2} {
		if err := g.Stop(); err != nil {
			return err
		}
		s.Say("   %s's gateway ended, exit status 0", g.Name)
	}
	return nil
}

// close removes the lab and whatever still runs in it. nginx is asked first, for
// it has children that it must wait for.
func (s *stage) close() error {
	if s.served != nil {
		s.nginx.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.served:
		case <-time.After(show.Patience):
		}
	}
	return s.lab.Close()
}
