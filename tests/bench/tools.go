package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sluice/tests/bench/figure"
	"sluice/tests/bench/tool"
	"sluice/tests/harness"
)

// equip starts the servers of the tools that workloads are made with.
func (s *site) equip(work []workload) error {
	wants := map[service]bool{}
	for _, w := range work {
		wants[of(w.Kind)] = wants[of(w.Kind)] || w.Layout == s.layout
	}
	if wants[https] {
		if err := s.serveHTTPS(); err != nil {
			return fmt.Errorf("start the HTTPS server: %w", err)
		}
	}
	if wants[iperf] {
		if err := s.serveIperf(); err != nil {
			return fmt.Errorf("start iperf3's server: %w", err)
		}
	}
	return nil
}

// file is a file of the site's.
func (s *site) file(name string) string { return filepath.Join(s.Dir, name) }

// serveHTTPS runs an nginx that answers requests over TLS 1.3 with a line.
func (s *site) serveHTTPS() error {
	cert, err := selfSigned()
	if err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return err
	}
	both := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	if err := os.WriteFile(s.file("https.pem"), both, 0o600); err != nil {
		return err
	}
	config := fmt.Sprintf(`daemon off;
user root;
pid %[1]s/https.pid;
worker_processes 2;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_requests 1000000000;
  server {
    listen %[2]s ssl reuseport;
    ssl_certificate %[1]s/https.pem;
    ssl_certificate_key %[1]s/https.pem;
    ssl_protocols TLSv1.3;
    ssl_session_tickets off;
    location / { return 200 "ok\n"; }
  }
}
`, s.Dir, s.serves(https))
	if err := os.WriteFile(s.file("https.conf"), []byte(config), 0o600); err != nil {
		return err
	}
	return s.background(https, exec.Command("nginx", "-p", s.Dir, "-e", s.file("https.log"), "-c", s.file("https.conf")))
}

// serveIperf runs iperf3's server, behind the library that takes hellos off.
func (s *site) serveIperf() error {
	if err := os.WriteFile(s.file("hello.c"), tool.Hello, 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(s.file("hello.bin"), harness.Hello(iperf.name, 0), 0o600); err != nil {
		return err
	}
	out, err := exec.Command("gcc", "-shared", "-fPIC", "-O2", "-o", s.file("hello.so"), s.file("hello.c"), "-ldl").CombinedOutput()
	if err != nil {
		return fmt.Errorf("compile the library: %w: %s", err, out)
	}
	cmd := exec.Command("iperf3", "-s", "-p", strconv.Itoa(int(iperf.port)))
	cmd.Env = append(os.Environ(), "LD_PRELOAD="+s.file("hello.so"), "BENCH_STRIP=1")
	return s.background(iperf, cmd)
}

// background starts a server in the server's namespace, and waits until it listens. It
// is not connected to: iperf3 would take that for a test.
func (s *site) background(of service, cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.server.Start(cmd); err != nil {
		return err
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		for _, table := range []string{"tcp", "tcp6"} {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", cmd.Process.Pid, table))
			if err == nil && listens(string(text), of.port) {
				return nil
			}
		}
	}
	return fmt.Errorf("nobody listens on port %d after %v", of.port, patience)
}

// listens tells whether a table of sockets, /proc/net/tcp (proc(5)), has one that
// listens on a port.
func listens(table string, port uint16) bool {
	const listening = "0A"
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) > 3 && fields[3] == listening && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) {
			return true
		}
	}
	return false
}

// runIperf has iperf3 send.
func (s *site) runIperf(o order) (figure.Measured, error) {
	host, port, err := net.SplitHostPort(o.Addr)
	if err != nil {
		return figure.Measured{}, err
	}
	out, work, err := s.tool(o, []string{"LD_PRELOAD=" + s.file("hello.so"), "BENCH_HELLO=" + s.file("hello.bin")},
		"iperf3", "-c", host, "-p", port, "-t", wholeSeconds(o.Time), "-P", strconv.Itoa(o.Workload.Flows), "-J")
	m, unread := tool.Iperf([]byte(out)) // which tells what went wrong, too
	m.CPU, m.Own = work.CPU, work.Own
	return m, errors.Join(unread, err)
}

// runWrk has wrk ask for a page.
func (s *site) runWrk(o order) (figure.Measured, error) {
	host, port, err := net.SplitHostPort(o.Addr)
	if err != nil {
		return figure.Measured{}, err
	}
	if err := os.WriteFile(s.file("wrk.lua"), tool.Script, 0o600); err != nil {
		return figure.Measured{}, err
	}
	args := []string{"-t", "1", "-c", strconv.Itoa(o.Workload.Flows), "-d", wholeSeconds(o.Time), "-s", s.file("wrk.lua")}
	if o.Workload.Kind == figure.Connections {
		args = append(args, "-H", "Connection: close")
	}
	out, work, err := s.tool(o, []string{"BENCH_ADDRESS=" + host, "BENCH_PORT=" + port}, "wrk", append(args, "https://"+o.Name+"/")...)
	if err != nil {
		return figure.Measured{}, err
	}
	m, err := tool.Wrk(out)
	m.CPU, m.Own = work.CPU, work.Own
	return m, err
}

// tool runs a program in the client's namespace and returns what it printed, and what
// processors did meanwhile.
func (s *site) tool(o order, env []string, name string, args ...string) (string, figure.Measured, error) {
	ctx, cancel := context.WithTimeout(ctxBackground, o.Time+3*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	var got figure.Measured
	work, err := startMeter(o.PIDs)
	if err != nil {
		return "", got, err
	}
	if err := s.client.Run(cmd); err != nil {
		return out.String(), got, fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(errs.String()))
	}
	err = work.stop(&got)
	return out.String(), got, err
}

// wholeSeconds is at least a second: the tools know no parts of one.
func wholeSeconds(d time.Duration) string {
	return strconv.Itoa(int(max(1, math.Ceil(d.Seconds()))))
}
