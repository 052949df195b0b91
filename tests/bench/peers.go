package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
)

// config writes a contender's configuration into the lab's directory.
func (s *site) config(name, format string, args ...any) (string, error) {
	path := filepath.Join(s.Dir, name)
	return path, os.WriteFile(path, fmt.Appendf(nil, format, args...), 0o600)
}

// startHAProxy: TCP mode, by SNI, with splice where HAProxy thinks it pays.
func startHAProxy(s *site, at netip.AddrPort) (*exec.Cmd, error) {
	path, err := s.config("haproxy.cfg", `global
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
  use_backend web if { req.ssl_sni -i %s }
  use_backend tls if { req.ssl_sni -i %s }
backend web
  server web %s
backend tls
  server tls %s
`, workers, at, serverName, secureName, s.upstream(serverPort), s.upstream(securePort))
	if err != nil {
		return nil, err
	}
	return s.daemon("haproxy", "-db", "-f", path)
}

// startNginx: stream with ssl_preread, one worker process a thread.
func startNginx(s *site, at netip.AddrPort) (*exec.Cmd, error) {
	path, err := s.config("nginx.conf", `load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
user root;
pid %s/nginx.pid;
error_log %s/nginx-error.log;
worker_processes %d;
events { worker_connections 19000; }
stream {
  map $ssl_preread_server_name $upstream { %s %s; %s %s; }
  server {
    listen %s reuseport;
    ssl_preread on;
    proxy_half_close on;
    proxy_pass $upstream;
  }
}
`, s.Dir, s.Dir, workers, serverName, s.upstream(serverPort), secureName, s.upstream(securePort), at)
	if err != nil {
		return nil, err
	}
	return s.daemon("nginx", "-p", s.Dir, "-e", filepath.Join(s.Dir, "nginx-error.log"), "-c", path)
}
