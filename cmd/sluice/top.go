package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/mattn/go-isatty"

	"sluice/userspace/top"
)

type topCommand struct{ env environment }

// topSettings are the flags of the verb.
type topSettings struct {
	reach reach
	every time.Duration
}

func (s *topSettings) flags() *flag.FlagSet {
	fs := flag.NewFlagSet("top", flag.ContinueOnError)
	s.reach.register(fs)
	fs.DurationVar(&s.every, "interval", time.Second, "Ask the gateway again after this `duration`.")
	return fs
}

func (c *topCommand) Synopsis() string { return "Watch routes and flows, the busiest first" }

func (c *topCommand) Help() string {
	return flagHelp(`
Usage: sluice top [options]

  A live view of a running gateway: what it moves, and its routes and flows, the busiest
  first. Keys: tab for routes or flows, s for another order, p to pause, arrows and page
  keys to scroll, q to quit. When the output is no terminal, it writes a line each turn.
`, new(topSettings).flags())
}

func (c *topCommand) Run(args []string) int {
	var set topSettings
	if status, ok := parseFlags(set.flags(), args, c.env, 0); !ok {
		return status
	}
	if set.every <= 0 {
		fmt.Fprintln(c.env.stderr, "sluice top: -interval must be more than 0 (see sluice top -help)")
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	client := set.reach.client(c.env)
	defer client.Close()
	if _, err := client.Status(ctx); err != nil {
		return fail(c.env, "top", set.reach.missed(c.env, err))
	}
	var err error
	if isTerminal(c.env.stdout) {
		_, err = tea.NewProgram(top.New(ctx, client, set.every), tea.WithContext(ctx), tea.WithAltScreen()).Run()
	} else {
		err = top.Plain(ctx, c.env.stdout, client, set.every)
	}
	if err != nil && ctx.Err() == nil {
		return fail(c.env, "top", err)
	}
	return exitOK
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}
