package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"sluice/userspace/client"
	"sluice/userspace/config"
	"sluice/userspace/modes"
)

type modesCommand struct{ env environment }

// modesSettings are the flags of the verb.
type modesSettings struct {
	agent   client.Settings
	format  string
	timeout time.Duration
}

func (s *modesSettings) flags() *flag.FlagSet {
	fs := flag.NewFlagSet("modes", flag.ContinueOnError)
	s.agent.Flags(fs)
	fs.StringVar(&s.format, "format", "table", "Print in this `format`: table or json.")
	fs.DurationVar(&s.timeout, "timeout", 30*time.Second, "Give up after this `duration`.")
	return fs
}

func (s *modesSettings) check() error {
	if s.format != "table" && s.format != "json" {
		return fmt.Errorf("-format must be table or json, not %q", s.format)
	}
	if s.timeout <= 0 {
		return errors.New("-timeout must be more than 0")
	}
	return nil
}

func (c *modesCommand) Synopsis() string {
	return "Show which mesh-gateway mode each upstream has, and why"
}

func (c *modesCommand) Help() string {
	return flagHelp(`
Usage: sluice modes [options] [SERVICE]

  For every upstream of every sidecar in the agent's datacenter, or of the
  sidecars of SERVICE: the mesh-gateway mode in force (none, local, remote), what
  decided it, and where its connections go.

  The first of these that asks for a mode decides: the upstream in the sidecar's
  registration, the proxy's own mesh_gateway in it, service-defaults of the
  calling service, proxy-defaults; but UpstreamConfig.Overrides in
  service-defaults are stronger than the proxy's own. If none asks, the
  service-defaults of the service that is called do. Where a registration asks for
  what it would get anyway, the config entry is named: agents fill that in.

  Warnings go to standard error, or into the field "warnings" of the JSON: a gateway
  that is needed and missing, an upstream that should name a datacenter,
  datacenters whose names are not unique. They leave the exit status at 0.
  It is 1 when the modes could not be told. The token needs service:read
  and node:read; intentions:read (part of service:read) for transparent proxies,
  and peering:read for peers.

  Each option can also be set by an environment variable (SLUICE_HTTP_ADDR, or
  else CONSUL_HTTP_ADDR, for -http-addr).
`, new(modesSettings).flags())
}

func (c *modesCommand) Run(args []string) int {
	var set modesSettings
	fs := set.flags()
	if status, ok := parseFlags(fs, args, c.env, 1); !ok {
		return status
	}
	if err := config.Fill(fs, client.Lookup(c.env.lookupEnv), ""); err != nil {
		return fail(c.env, "modes", err)
	}
	if err := set.check(); err != nil {
		fail(c.env, "modes", err)
		return exitUsage
	}
	report, err := set.read(fs.Arg(0))
	if err != nil {
		return fail(c.env, "modes", err)
	}
	if err := c.print(report, set.format); err != nil {
		return fail(c.env, "modes", fmt.Errorf("print: %w", err))
	}
	return exitOK
}

// read asks the agent, until the time is over or the user has lost patience.
func (s *modesSettings) read(service string) (*modes.Report, error) {
	agent, err := s.agent.Agent()
	if err != nil {
		return nil, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	report, err := modes.Read(ctx, agent.API(), service)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("not done after %v (see -timeout): %w", s.timeout, err)
	}
	return report, err
}

func (c *modesCommand) print(report *modes.Report, format string) error {
	if format == "json" {
		out := json.NewEncoder(c.env.stdout)
		out.SetIndent("", "  ")
		return out.Encode(report)
	}
	err := report.Table(c.env.stdout)
	for _, warning := range report.Warnings {
		fmt.Fprintf(c.env.stderr, "warning: %s\n", warning)
	}
	return err
}
