package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strconv"

	"sluice/userspace/gateway"
)

type killCommand struct{ env environment }

// killSettings are the flags of the verb.
type killSettings struct {
	reach reach
	which gateway.Selection
}

func (s *killSettings) flags() *flag.FlagSet {
	fs := flag.NewFlagSet("kill", flag.ContinueOnError)
	s.reach.register(fs)
	selectionFlags(fs, &s.which, "Reset")
	return fs
}

func (c *killCommand) Synopsis() string { return "Reset flows of a running gateway" }

func (c *killCommand) Help() string {
	return flagHelp(`
Usage: sluice kill [options] FLOW
       sluice kill [options] -route NAME
       sluice kill [options] -source NETWORK

  Resets both sides of a flow, by its number as "sluice flows" shows it, or of all flows
  of a route, or from a network; if several of these are given, of those flows for which
  all hold. Flows that are not carried yet are left to their own timeouts. New ones come
  in as before.

  The exit status is 1 when no flow was reset, or when the gateway does not answer. Only
  root and the group of its socket may do this.
`, new(killSettings).flags())
}

func (c *killCommand) Run(args []string) int {
	var set killSettings
	fs := set.flags()
	if status, ok := parseFlags(fs, args, c.env, 1); !ok {
		return status
	}
	if err := set.choose(fs.Args()); err != nil {
		fail(c.env, "kill", err)
		return exitUsage
	}
	client := set.reach.client(c.env)
	defer client.Close()
	n, err := client.Kill(context.Background(), set.which)
	if err == nil && n == 0 {
		err = errors.New("there is no such flow that is carried")
	}
	if err != nil {
		return fail(c.env, "kill", set.reach.missed(c.env, err))
	}
	fmt.Fprintf(c.env.stdout, "flows reset: %d\n", n)
	return exitOK
}

// choose takes the number of a flow, if there is one, and sees that something is meant.
func (s *killSettings) choose(args []string) error {
	if len(args) > 0 {
		id, err := strconv.ParseUint(args[0], 10, 64)
		if err != nil || id == 0 {
			return fmt.Errorf("%q is not the number of a flow", args[0])
		}
		s.which.ID = id
	}
	if s.which == (gateway.Selection{}) {
		return errors.New("which flows? give a number, -route or -source")
	}
	return nil
}
