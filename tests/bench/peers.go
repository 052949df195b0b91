package main

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
)

// Each peer does what Sluice does, with two threads, or two processes where it has no
// threads: it routes by server name, and decrypts nothing.

// startHAProxy: TCP mode, by SNI, with splice where HAProxy thinks it pays.
func startHAProxy(p *place) error {
	var names, backends strings.Builder
	for _, s := range services {
		backend, _, _ := strings.Cut(s.name, ".")
		fmt.Fprintf(&names, "%s %s\n", s.name, backend)
		fmt.Fprintf(&backends, "backend %s\n  server %s %s\n", backend, backend, p.to(s))
	}
	for _, name := range p.filler() {
		fmt.Fprintf(&names, "%s web\n", name)
	}
	table, err := p.write(".map", names.String())
	if err != nil {
		return err
	}
	path, err := p.write(".cfg", fmt.Sprintf(`global
  nbthread %d
  maxconn 9500
  no strict-limits
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  option splice-auto
frontend gateway
  bind %s
  tcp-request inspect-delay 5s
  tcp-request content accept if { req.ssl_hello_type 1 }
  use_backend %%[req.ssl_sni,lower,map(%s)]
%s`, workers, p.at, table, backends.String()))
	if err != nil {
		return err
	}
	return p.run("haproxy", "-db", "-f", path)
}

// startNginx: stream with ssl_preread, one worker process a thread.
func startNginx(p *place) error {
	var names strings.Builder
	for _, s := range services {
		fmt.Fprintf(&names, "    %s %s;\n", s.name, p.to(s))
	}
	for _, name := range p.filler() {
		fmt.Fprintf(&names, "    %s %s;\n", name, p.to(plain))
	}
	errors := filepath.Join(p.Dir, p.name+"-error.log")
	path, err := p.write(".conf", fmt.Sprintf(`load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
user root;
pid %s/%s.pid;
error_log %s;
worker_processes %d;
events { worker_connections 19000; }
stream {
  map_hash_max_size 262144;
  map_hash_bucket_size 128;
  map $ssl_preread_server_name $upstream {
%s  }
  server {
    listen %s reuseport;
    ssl_preread on;
    proxy_half_close on;
    proxy_pass $upstream;
  }
}
`, p.Dir, p.name, errors, workers, names.String(), p.at))
	if err != nil {
		return err
	}
	return p.run("nginx", "-p", p.Dir, "-e", errors, "-c", path)
}

// startSniproxy: one process works with one thread, so there are two on one port. Its
// table is a list of regular expressions.
func startSniproxy(p *place) error {
	var names strings.Builder
	for _, s := range services {
		fmt.Fprintf(&names, "  ^%s$ %s\n", regexp.QuoteMeta(s.name), p.to(s))
	}
	for i := range workers {
		path, err := p.write(fmt.Sprintf("-%d.conf", i), fmt.Sprintf(`user root
pidfile %s/%s-%d.pid
error_log {
  filename %s/%s-%d-error.log
  priority notice
}
listener %s {
  protocol tls
  reuseport yes
  table services
}
table services {
%s}
`, p.Dir, p.name, i, p.Dir, p.name, i, p.at, names.String()))
		if err != nil {
			return err
		}
		if err := p.run("sniproxy", "-f", "-n", "19000", "-c", path); err != nil {
			return err
		}
	}
	return nil
}
