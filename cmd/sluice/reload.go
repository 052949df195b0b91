package main

import (
	"context"
	"flag"
	"fmt"
)

type reloadCommand struct{ env environment }

func (c *reloadCommand) Synopsis() string {
	return "Have a running gateway read its routes and open its logs again"
}

func (c *reloadCommand) Help() string {
	fs, _ := c.flags()
	return flagHelp(`
Usage: sluice reload [options]

  Does what SIGHUP does: the gateway reads its file of routes, if it has one, and opens
  its access log again. Errors in the file are told, and its routes stay as they are.

  The exit status is 1 then, or when the gateway does not answer. Only root and the group
  of its socket may do this.
`, fs)
}

func (c *reloadCommand) flags() (*flag.FlagSet, *reach) {
	fs, r := flag.NewFlagSet("reload", flag.ContinueOnError), new(reach)
	r.register(fs)
	return fs, r
}

func (c *reloadCommand) Run(args []string) int {
	fs, r := c.flags()
	if status, ok := parseFlags(fs, args, c.env, 0); !ok {
		return status
	}
	client := r.client(c.env)
	defer client.Close()
	done, err := client.Reload(context.Background())
	if err != nil {
		return fail(c.env, "reload", r.missed(c.env, err))
	}
	fmt.Fprintln(c.env.stdout, done)
	return exitOK
}
