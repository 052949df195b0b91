package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"sluice/userspace/client"
	"sluice/userspace/config"
)

type gatewayCommand struct{ env environment }

func (c *gatewayCommand) Synopsis() string { return "Run the mesh gateway" }

func (c *gatewayCommand) Help() string {
	return flagHelp(`
Usage: sluice gateway -register [options]
       sluice gateway [options]
       sluice gateway -routes FILE [options]

  Accepts TLS connections, routes them by their server name, and relays them
  untouched: as a mesh gateway of Consul, which it registers as, or which somebody
  else has registered, with the options that "consul connect envoy -gateway=mesh"
  has; or without Consul, by a file of routes.

  SIGHUP reads the routes and opens the logs again; SIGTERM or SIGINT drains, a
  second one ends at once.

  Each option can also be set by an environment variable (SLUICE_HELLO_TIMEOUT
  for -hello-timeout; CONSUL_HTTP_ADDR and the like count too) or in the file that
  -config names. The command line wins over the environment, and that over the file.
`, new(settings).flags())
}

func (c *gatewayCommand) Run(args []string) int {
	var set settings
	fs := set.flags()
	if status, ok := parseFlags(fs, args, c.env, 0); !ok {
		return status
	}
	if set.config == "" {
		set.config, _ = c.env.lookupEnv(config.EnvName("config"))
	}
	if err := config.Fill(fs, client.Lookup(c.env.lookupEnv), set.config); err != nil {
		return fail(c.env, "gateway", err)
	}
	if err := set.check(); err != nil {
		fail(c.env, "gateway", err)
		return exitUsage
	}
	if err := set.fitFiles(); err != nil {
		return fail(c.env, "gateway", err)
	}
	a, err := newAgent(&set, c.env)
	if err != nil {
		return fail(c.env, "gateway", err)
	}
	// The reader of a log that went away must cost the log, not the gateway: Go
	// ends programs whose standard output breaks.
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	if err := a.run(context.Background(), signals); err != nil {
		return fail(c.env, "gateway", err)
	}
	return exitOK
}

// filesBeside is how many open files are kept for all that is not a flow:
// listeners, pipes, logs, metrics, name look-ups.
const filesBeside = 1000

// fitFiles raises the limit of open files as far as it goes and, unless told
// otherwise, limits the flows, two descriptors each, to what it has room for:
// refusing is better than running out.
func (s *settings) fitFiles() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	limit.Cur = limit.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("raise the limit of open files to %d: %w", limit.Max, err)
	}
	room := int(min(limit.Max, 1<<30)) - filesBeside
	if room < 2 {
		return fmt.Errorf("the limit of open files is %d, too low: allow at least %d", limit.Max, filesBeside+200)
	}
	if s.limits.MaxFlows == 0 {
		s.limits.MaxFlows = room / 2
	}
	return nil
}
