package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// contender is somebody who is measured.
type contender struct {
	name  string
	start func(s *site, at netip.AddrPort) (*exec.Cmd, error) // nil for none: packets are forwarded
	cmd   *exec.Cmd
	at    netip.AddrPort // where clients connect to

	secure netip.AddrPort // the same for those of real TLS
}

// limit is the name of the contender that is no proxy.
const limit = "IP forwarding"

// contenders are all there are, in the order in which they take turns.
func contenders(sluice string) []*contender {
	return []*contender{
		{name: limit},
		{name: "sluice splice", start: startSluice(sluice, "splice")},
		{name: "sluice sockmap", start: startSluice(sluice, "sockmap")},
		{name: "sluice auto", start: startSluice(sluice, "auto")},
		{name: "haproxy", start: startHAProxy},
		{name: "nginx", start: startNginx},
		{name: "io.Copy", start: startCopy},
	}
}

// begin starts the i-th contender and waits until it serves.
func (c *contender) begin(s *site, i int) error {
	if c.start == nil {
		c.at, c.secure = s.upstream(serverPort), s.upstream(securePort)
		return nil
	}
	c.at = s.port(uint16(8000 + i))
	c.secure = c.at
	cmd, err := c.start(s, c.at)
	if err != nil {
		return fmt.Errorf("start %s: %w", c.name, err)
	}
	c.cmd = cmd
	if err := s.reachable(c.at); err != nil {
		log, _ := os.ReadFile(s.log(cmd))
		return fmt.Errorf("start %s: %w; its log:\n%s", c.name, err, log)
	}
	return nil
}

// log is where a contender's output goes.
func (s *site) log(cmd *exec.Cmd) string {
	return filepath.Join(s.Dir, filepath.Base(cmd.Path)+".log")
}

// address is where a workload's clients connect to.
func (c *contender) address(w workload) string {
	if w.Kind == "handshake" {
		return c.secure.String()
	}
	return c.at.String()
}

// reachable waits until somebody listens.
func (s *site) reachable(at netip.AddrPort) error {
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		conn, dialErr := s.client.Dial(ctxBackground, "tcp", at.String())
		if err = dialErr; err == nil {
			return conn.Close()
		}
	}
	return fmt.Errorf("wait for %s: %w", at, err)
}

// daemon starts a program in the gateway's namespace, whose output goes to a file.
func (s *site) daemon(name string, args ...string) (*exec.Cmd, error) {
	cmd := exec.Command(name, args...)
	log, err := createFile(s.log(cmd))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd, s.gateway.Start(cmd)
}
