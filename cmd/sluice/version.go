package main

import (
	"flag"
	"fmt"
	"runtime"
)

type versionCommand struct{ env environment }

func (c *versionCommand) Synopsis() string { return "Print the version" }

func (c *versionCommand) Help() string {
	return "Usage: sluice version\n\n  Prints the version of Sluice and of the Go it was built with."
}

func (c *versionCommand) Run(args []string) int {
	if status, ok := parseFlags(flag.NewFlagSet("version", flag.ContinueOnError), args, c.env, 0); !ok {
		return status
	}
	fmt.Fprintf(c.env.stdout, "sluice %s (%s, %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return exitOK
}
