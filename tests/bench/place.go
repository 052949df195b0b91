package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sluice/scripts/lab"
	"sluice/tests/bench/figure"
)

// entry is a contender as it runs in a layout, with a table of some size: a place in
// each gateway's namespace.
type entry struct {
	contender
	site   *site
	places []*place
}

// place is where a contender runs, and what it does there.
type place struct {
	*site
	ns     *lab.Namespace
	at     netip.AddrPort               // where it is to listen
	to     func(service) netip.AddrPort // where it is to send
	routes int                          // that its table is to have, if more than services
	name   string                       // of its files
	cmds   []*exec.Cmd                  // what it runs
	config strings.Builder              // command lines and files
}

// enter starts a contender and waits until it serves.
func (s *site) enter(c contender, routes int) (*entry, error) {
	e := &entry{contender: c, site: s}
	if c.start == nil {
		return e, nil
	}
	port := 8000 + s.taken
	s.taken++
	next := s.serves
	for i := len(s.gateways) - 1; i >= 0; i-- {
		ns := s.gateways[i]
		p := &place{site: s, ns: ns, at: netip.AddrPortFrom(address(ns), port), to: next, routes: routes}
		p.name = fmt.Sprintf("%s-%d-%s", strings.ReplaceAll(c.Name, " ", "-"), port, ns.Name)
		if err := c.start(p); err != nil {
			return nil, fmt.Errorf("start %s: %w", c.Name, err)
		}
		if err := p.reachable(); err != nil {
			log, _ := os.ReadFile(p.log())
			return nil, fmt.Errorf("start %s: %w; its log:\n%s", c.Name, err, log)
		}
		e.places = append(e.places, p)
		next = func(service) netip.AddrPort { return p.at }
	}
	return e, nil
}

// address is where clients of a service connect to.
func (e *entry) address(to service) netip.AddrPort {
	if len(e.places) == 0 {
		return e.site.serves(to)
	}
	return e.places[len(e.places)-1].at
}

// cmds are all that the contender runs.
func (e *entry) cmds() []*exec.Cmd {
	var all []*exec.Cmd
	for _, p := range e.places {
		all = append(all, p.cmds...)
	}
	return all
}

// config is what it was run with, from the client's side to the server's.
func (e *entry) config() string {
	var text string
	for _, p := range e.places {
		text = p.config.String() + text
	}
	return text
}

// write writes a configuration file and returns its path.
func (p *place) write(ending, text string) (string, error) {
	path := filepath.Join(p.Dir, p.name+ending)
	if p.routes == 0 { // those of large tables are the same, but long
		fmt.Fprintf(&p.config, "# %s\n%s", filepath.Base(path), text)
	}
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// run starts a program whose output goes to a file.
func (p *place) run(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	log, err := os.OpenFile(p.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	fmt.Fprintf(&p.config, "$ %s\n", strings.Join(cmd.Args, " "))
	p.cmds = append(p.cmds, cmd)
	return p.ns.Start(cmd)
}

func (p *place) log() string { return filepath.Join(p.Dir, p.name+".log") }

// slow is how long a contender may take to read a large table.
const slow = time.Minute

// reachable waits until somebody listens.
func (p *place) reachable() error {
	var err error
	for end := time.Now().Add(slow); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		conn, dialErr := p.ns.Dial(ctxBackground, "tcp", p.at.String())
		if err = dialErr; err == nil {
			return conn.Close()
		}
	}
	return fmt.Errorf("wait for %s: %w", p.at, err)
}

// filler are server names that nobody asks for, which make a table as large as it is
// to be.
func (p *place) filler() []string {
	var names []string
	for i := len(services); i < p.routes; i++ {
		names = append(names, fmt.Sprintf("s%06d.default.dc1.internal.bench.consul", i))
	}
	return names
}

// known sums up an entry for the results.
func (e *entry) known(r *figure.Run) {
	for i := range r.Contenders {
		c := &r.Contenders[i]
		if text := e.config(); c.Name == e.Name && text != "" && c.Config[e.site.layout] == "" {
			if c.Config == nil {
				c.Config = map[string]string{}
			}
			c.Config[e.site.layout] = text
		}
	}
}
