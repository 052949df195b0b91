package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sluice/loader"
	"sluice/userspace/admin"
	"sluice/userspace/client"
	"sluice/userspace/config"
	"sluice/userspace/doctor"
	"sluice/userspace/local"
	"sluice/userspace/relay"
	"sluice/userspace/sockmap"
)

type checkCommand struct{ env environment }

// checkSettings are the flags of the verb: those of the gateway, and how to show what was
// found.
type checkSettings struct {
	gateway settings
	out     output
	timeout time.Duration
}

func (s *checkSettings) flags() *flag.FlagSet {
	fs := s.gateway.flags()
	fs.Init("check", flag.ContinueOnError)
	s.out.register(fs)
	fs.DurationVar(&s.timeout, "timeout", 20*time.Second, "Give each check this `duration`.")
	return fs
}

func (s *checkSettings) check() error {
	err := errors.Join(s.gateway.check(), s.out.check())
	if s.timeout <= 0 {
		err = errors.Join(err, errors.New("-timeout must be more than 0"))
	}
	return err
}

func (c *checkCommand) Synopsis() string {
	return "Check whether a gateway can work here, and how to mend it"
}

func (c *checkCommand) Help() string {
	return flagHelp(`
Usage: sluice check [options]

  Takes the settings of "sluice gateway" and looks at all that such a gateway needs:
  the kernel and what of it may be used, limits, settings, file systems, the paths (by
  a self-test of each), addresses, the file of routes; or of Consul the agent,
  the rights of the token one by one, gateways here and in the other datacenters,
  certificates and clocks. A gateway that runs is not disturbed, and nothing is left
  behind.

  Each line is ok, warn (it works, but not as well or not for ever) or fail (it does
  not start, or flows are refused), and says what would help. A sysctl -w lasts until
  the next boot; a file in /etc/sysctl.d has it stay. The exit status is 1 if a line is
  fail, and 0 otherwise.

  Run it as the gateway's user: limits and capabilities are those of this process,
  unless the gateway runs and answers at its admin socket; then they are the gateway's.
`, new(checkSettings).flags())
}

func (c *checkCommand) Run(args []string) int {
	var set checkSettings
	fs := set.flags()
	if status, ok := parseFlags(fs, args, c.env, 0); !ok {
		return status
	}
	if set.gateway.config == "" {
		set.gateway.config, _ = c.env.lookupEnv(config.EnvName("config"))
	}
	if err := config.Fill(fs, client.Lookup(c.env.lookupEnv), set.gateway.config); err != nil {
		return fail(c.env, "check", err)
	}
	if err := set.check(); err != nil {
		fail(c.env, "check", err)
		return exitUsage
	}
	failed := false
	status := set.out.show(c.env, "check", func(ctx context.Context) (view, error) {
		checks, err := set.checks(ctx)
		if err != nil {
			return nil, err
		}
		report := doctor.Run(ctx, checks, set.timeout)
		failed = report.Fail > 0
		return checkView{report}, nil
	})
	if status == exitOK && failed {
		return exitError
	}
	return status
}

// checks are all that these settings call for, in the order in which they are shown.
func (s *checkSettings) checks(ctx context.Context) ([]doctor.Check, error) {
	set := &s.gateway
	host, err := set.host(ctx)
	if err != nil {
		return nil, err
	}
	plan := set.plan()
	source := []doctor.Check{doctor.RoutesCheck(set.routes, pathNames...)}
	if set.routes == "" {
		agent, err := set.client.Agent()
		if err != nil {
			return nil, err
		}
		mesh := &doctor.Mesh{Settings: set.client, Agent: agent, Service: set.service, Source: set.source, Running: host.Running != 0}
		source = doctor.MeshChecks(mesh)
		if len(set.gateway.Listen) == 0 {
			plan.Listen = mesh.Listeners
		}
	}
	checks := append(doctor.HostChecks(host, plan), doctor.SpliceCheck(), doctor.SockmapCheck(host, plan, set.trySockmap), doctor.LocalCheck(host, plan, set.tryLocal))
	checks = append(checks, doctor.AddressChecks(host, plan)...)
	return append(checks, source...), nil
}

// plan is what the settings ask of the host.
func (s *settings) plan() *doctor.Plan {
	dir := s.stateFile()
	if dir != "" {
		dir = filepath.Dir(dir)
	}
	listen := s.gateway.Listen
	if len(listen) == 0 && s.routes != "" {
		listen = (&agent{set: s}).listeners()
	}
	return &doctor.Plan{
		Path: s.path, UnsafeKernel: s.unsafeKernel, Local: s.localMode != localOff, BPFDir: s.bpfDir, StateDir: dir,
		SharePorts: s.gateway.SharePorts, Metrics: s.metricsBind, Routes: s.routes,
		Workers: s.gateway.Workers, Pipes: cmp.Or(s.pipes, relay.DefaultPipes), Flows: s.limits.MaxFlows, FilesBeside: filesBeside,
		Listen: func(context.Context) ([]netip.AddrPort, error) { return listen, nil },
	}
}

// host is this one.
func (s *settings) host(ctx context.Context) (*doctor.Host, error) {
	release, err := loader.Release()
	if err != nil {
		return nil, err
	}
	kernel := doctor.Kernel{Release: release}
	safety, why := loader.CheckVersion(release)
	kernel.Why = why
	switch safety {
	case loader.Doubt:
		kernel.Level = doctor.Warn
	case loader.Risky:
		kernel.Level = doctor.Fail
	}
	return &doctor.Host{
		FS: os.DirFS("/"), Kernel: kernel, Running: s.running(ctx), Bind: doctor.Bind,
		Writable: func(dir string) error {
			return unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS)
		},
	}, nil
}

// running is the process of the gateway with these settings, 0 when none answers.
func (s *settings) running(ctx context.Context) int {
	if s.control.socket == noSocket {
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	client := admin.NewClient(cmp.Or(s.control.socket, admin.SocketOf(s.instance)))
	defer client.Close()
	status, err := client.Status(ctx)
	if err != nil || status.Instance != s.instance {
		return 0
	}
	return status.PID
}

// checkFlows is enough for a self-test.
const checkFlows = 64

// trySockmap loads the sockmap path as an instance of its own, tests it, and removes what
// it has made.
func (s *settings) trySockmap(context.Context) error {
	if err := missingBriefly(loader.Probe(s.bpfDir)); err != nil {
		return err
	}
	_, err := os.Stat(s.bpfDir)
	found := err == nil
	own := fmt.Sprintf("check-%d", os.Getpid())
	loaded, err := loader.Load(loader.Options{Root: s.bpfDir, Instance: own, Flows: checkFlows})
	if err != nil {
		return errors.Join(err, s.removePins(own, found))
	}
	s.sweepChecks()
	engine, err := sockmap.New(loaded, sockmap.Config{Credit: uint32(s.credit)})
	if err == nil {
		err = engine.SelfTest(0)
	}
	return errors.Join(err, loaded.Close(), s.removePins(own, found))
}

// tryLocal loads the local path, which nobody else sees, and tests it.
func (s *settings) tryLocal(context.Context) error {
	if err := missingBriefly(loader.ProbeLocal()); err != nil {
		return err
	}
	loaded, err := loader.LoadLocal(checkFlows)
	if err != nil {
		return err
	}
	engine := local.New(loaded)
	s.setDelivery(engine)
	err = engine.SelfTest()
	if misleading(s.localMode) && errors.Is(err, local.ErrMisleads) {
		err = nil
	}
	return errors.Join(err, loaded.Close())
}

// missingBriefly is loader.Missing, with one word for all that only lacks a capability:
// without those nearly everything does.
func missingBriefly(found []loader.Feature) error {
	var rest []loader.Feature
	var denied []string
	for _, f := range found {
		if errors.Is(f.Err, os.ErrPermission) {
			denied = append(denied, f.Name)
		} else {
			rest = append(rest, f)
		}
	}
	var err error
	if len(denied) > 0 {
		err = fmt.Errorf("not permitted without CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON: %s, and %d more", denied[0], len(denied)-1)
	}
	return errors.Join(loader.Missing(rest), err)
}

// removePins removes an instance that has no generation any more. The directory above it
// stays if it was there before: the gateway may not be allowed to make it.
func (s *settings) removePins(instance string, keep bool) error {
	err := os.Remove(filepath.Join(s.bpfDir, instance))
	if err == nil && !keep {
		err = os.Remove(s.bpfDir)
	}
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTEMPTY) { // a gateway came in between
		return nil
	}
	return err
}

// sweepChecks removes what a check has left behind that was killed. It is for when there
// is another instance, so that the directory of all of them stays.
func (s *settings) sweepChecks() {
	all, err := loader.List(s.bpfDir)
	if err != nil {
		return
	}
	for _, g := range all {
		if strings.HasPrefix(g.Instance, "check-") && !g.Alive && !g.Foreign {
			_ = loader.Unload(s.bpfDir, g.Instance) // the next one tries again
		}
	}
}

// checkView shows a report.
type checkView struct{ *doctor.Report }

func (v checkView) table(w io.Writer) {
	area := ""
	for _, l := range v.Lines {
		if l.Area != area {
			area = l.Area
			fmt.Fprintf(w, "%s:\n", area)
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\n", l.Level, l.Name, l.Found)
		if l.Remedy != "" {
			fmt.Fprintf(w, "\t\t-> %s\n", l.Remedy)
		}
	}
	fmt.Fprintf(w, "%d ok, %d warn, %d fail\n", v.OK, v.Warn, v.Fail)
}
