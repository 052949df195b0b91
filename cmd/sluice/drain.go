package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"sluice/userspace/admin"
)

type drainCommand struct{ env environment }

// drainSettings are the flags of the verb.
type drainSettings struct {
	reach    reach
	deadline time.Duration
	wait     bool
}

func (s *drainSettings) flags() *flag.FlagSet {
	fs := flag.NewFlagSet("drain", flag.ContinueOnError)
	s.reach.register(fs)
	fs.DurationVar(&s.deadline, "deadline", 0, "Reset the flows that are left after this `duration`. 0: the gateway's -drain-timeout.")
	fs.BoolVar(&s.wait, "wait", false, "Wait until the gateway has ended.")
	return fs
}

func (c *drainCommand) Synopsis() string { return "End a running gateway when its flows have" }

func (c *drainCommand) Help() string {
	return flagHelp(`
Usage: sluice drain [options]

  Does what SIGTERM does: the gateway tells Consul, stops accepting, waits for its flows
  to end, and exits.

  The exit status is 1 when the gateway does not answer, or drains already. Only root
  and the group of its socket may do this.
`, new(drainSettings).flags())
}

func (c *drainCommand) Run(args []string) int {
	var set drainSettings
	fs := set.flags()
	if status, ok := parseFlags(fs, args, c.env, 0); !ok {
		return status
	}
	if set.deadline < 0 {
		fail(c.env, "drain", errors.New("-deadline must not be negative"))
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	client := set.reach.client(c.env)
	defer client.Close()
	if err := client.Drain(ctx, set.deadline); err != nil {
		return fail(c.env, "drain", set.reach.missed(c.env, err))
	}
	fmt.Fprintln(c.env.stdout, "the gateway drains")
	if !set.wait {
		return exitOK
	}
	if err := gone(ctx, client); err != nil {
		return fail(c.env, "drain", fmt.Errorf("wait for its end: %w", err))
	}
	fmt.Fprintln(c.env.stdout, "the gateway has ended")
	return exitOK
}

// gone waits until no agent answers any more.
func gone(ctx context.Context, client *admin.Client) error {
	for {
		// While it closes, an answer may break off: only a socket where nobody is counts.
		if _, err := client.Status(ctx); errors.Is(err, admin.ErrNoAgent) {
			return nil
		}
		if err := pause(ctx, 2*rateTime); err != nil {
			return err
		}
	}
}
