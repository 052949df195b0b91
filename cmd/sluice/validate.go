package main

import (
	"flag"
	"fmt"

	"sluice/userspace/route"
	"sluice/userspace/static"
)

type validateCommand struct{ env environment }

func (c *validateCommand) Synopsis() string { return "Check a file of routes" }

func (c *validateCommand) Help() string {
	return `Usage: sluice validate FILE

  Reads a file of routes and clusters as the gateway would, and says what is
  wrong with it, if anything, by file and line. The exit status is 0 for a good
  file, 1 for a bad one.`
}

func (c *validateCommand) Run(args []string) int {
	fs := flag.NewFlagSet("validate", flag.ContinueOnError)
	if status, ok := parseFlags(fs, args, c.env, 1); !ok {
		return status
	}
	if fs.NArg() != 1 {
		fmt.Fprintln(c.env.stderr, "sluice validate: which FILE? (see sluice validate -help)")
		return exitUsage
	}
	routes, clusters, err := static.Read(fs.Arg(0), pathNames...)
	if err != nil {
		return fail(c.env, "validate", err)
	}
	table, err := route.Replace(nil, fs.Arg(0), routes, clusters)
	if err != nil {
		return fail(c.env, "validate", err)
	}
	fmt.Fprintln(c.env.stdout, table)
	return exitOK
}
