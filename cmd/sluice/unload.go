package main

import (
	"errors"
	"flag"
	"fmt"

	"sluice/loader"
	"sluice/userspace/config"
)

type unloadCommand struct{ env environment }

func (c *unloadCommand) Synopsis() string { return "Remove what a gateway has pinned" }

func (c *unloadCommand) Help() string { fs, _, _ := c.flags(); return flagHelp(unloadStory, fs) }

const unloadStory = `Usage: sluice unload [options]

  Removes all traces of an instance from the BPF file system: maps, programs and
  directories. What belongs to a gateway that is running stays, and so does what is
  not Sluice's; then nothing is removed at all, and the exit status is 1.`

func (c *unloadCommand) flags() (fs *flag.FlagSet, dir, instance *string) {
	fs = flag.NewFlagSet("unload", flag.ContinueOnError)
	dir = fs.String("bpf-dir", loader.DefaultRoot, "The `directory` below which the gateway pins.")
	instance = fs.String("instance", "default", "The gateway's `name`.")
	return fs, dir, instance
}

func (c *unloadCommand) Run(args []string) int {
	fs, dir, instance := c.flags()
	if status, ok := parseFlags(fs, args, c.env, 0); !ok {
		return status
	}
	if err := config.Fill(fs, c.env.lookupEnv, ""); err != nil {
		fail(c.env, "unload", err)
		return exitUsage
	}
	err := loader.UnloadTable(*dir, *instance)
	if err == nil {
		err = loader.Unload(*dir, *instance)
	}
	if errors.Is(err, loader.ErrInUse) {
		err = fmt.Errorf("%w: stop the gateway first", err)
	}
	if err != nil {
		return fail(c.env, "unload", err)
	}
	fmt.Fprintf(c.env.stdout, "nothing of instance %s is left below %s\n", *instance, *dir)
	return exitOK
}
