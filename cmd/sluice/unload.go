package main

import (
	"errors"
	"flag"
	"fmt"

	"sluice/loader"
)

type unloadCommand struct{ env environment }

func (c *unloadCommand) Synopsis() string { return "Remove what a gateway has pinned" }

func (c *unloadCommand) Help() string { fs, _ := c.flags(); return flagHelp(unloadStory, fs) }

const unloadStory = `Usage: sluice unload [options]

  Removes all traces of an instance from the BPF file system: maps, programs and
  directories. What belongs to a gateway that is running stays, and so does what is
  not Sluice's; then nothing is removed at all, and the exit status is 1.`

func (c *unloadCommand) flags() (*flag.FlagSet, *reach) {
	fs, r := flag.NewFlagSet("unload", flag.ContinueOnError), new(reach)
	r.name(fs)
	r.registerPins(fs)
	return fs, r
}

func (c *unloadCommand) Run(args []string) int {
	fs, r := c.flags()
	if status, ok := parseFlags(fs, args, c.env, 0); !ok {
		return status
	}
	from := r.pins(c.env)
	err := loader.UnloadTable(from.dir, from.instance)
	if err == nil {
		err = loader.Unload(from.dir, from.instance)
	}
	if errors.Is(err, loader.ErrInUse) {
		err = fmt.Errorf("%w: stop the gateway first", err)
	}
	if err != nil {
		return fail(c.env, "unload", err)
	}
	fmt.Fprintf(c.env.stdout, "nothing of instance %s is left below %s\n", from.instance, from.dir)
	return exitOK
}
