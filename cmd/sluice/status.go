package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"sluice/userspace/admin"
)

type statusCommand struct{ env environment }

// statusSettings are the flags of the verb.
type statusSettings struct {
	reach reach
	out   output
}

func (s *statusSettings) flags() *flag.FlagSet {
	fs := flag.NewFlagSet("status", flag.ContinueOnError)
	s.reach.register(fs)
	s.out.register(fs)
	return fs
}

func (c *statusCommand) Synopsis() string { return "Show how a running gateway stands" }

func (c *statusCommand) Help() string {
	return flagHelp(`
Usage: sluice status [options]

  What a running gateway says of itself: its version, how long it runs, its table and
  where that comes from, its addresses, which paths flows may take and why not others,
  how full the kernel's maps are, flows and rates, and the last warnings and errors of
  its log.

  The exit status is 1 when the gateway does not answer. Only root and the group of its
  socket may ask.
`, new(statusSettings).flags())
}

func (c *statusCommand) Run(args []string) int {
	var set statusSettings
	fs := set.flags()
	if status, ok := parseFlags(fs, args, c.env, 0); !ok {
		return status
	}
	if err := set.out.check(); err != nil {
		fail(c.env, "status", err)
		return exitUsage
	}
	client := set.reach.client(c.env)
	defer client.Close()
	return set.out.show(c.env, "status", func(ctx context.Context) (view, error) {
		s, err := client.Status(ctx)
		return statusView{s}, err
	})
}

// statusView shows a status.
type statusView struct{ *admin.Status }

func (v statusView) table(w io.Writer) {
	line := func(name, format string, args ...any) { fmt.Fprintf(w, name+":\t"+format+"\n", args...) }
	line("Version", "%s, process %d, instance %s", v.Version, v.PID, v.Instance)
	line("State", "%s, up %s", v.State, age(seconds(v.Uptime)))
	line("Kernel", "%s", v.Kernel)
	line("Table", "%s", v.tableLine())
	if t := v.Table; t != nil && !t.Connected {
		line("Source", "not connected%s: the last table stays", since(t.Since))
	}
	var listeners []string
	for _, addr := range v.Listeners {
		listeners = append(listeners, addr.String())
	}
	line("Listeners", "%s", strings.Join(listeners, ", "))
	for _, p := range v.Paths {
		state := "on"
		if !p.On {
			state = "off: " + p.Why
		}
		line("Path "+p.Name, "%s", state)
	}
	for _, m := range v.Maps {
		line("Map "+m.Name, "%d of %d", m.Used, m.Max)
	}
	line("Flows", "%d now, %d since the start, %.0f/s new", v.Flows, v.Begun, v.Rates.Flows)
	line("Sent", "%s, %s/s", quantity(float64(v.Sent)), quantity(v.Rates.Sent))
	line("Received", "%s, %s/s", quantity(float64(v.Received)), quantity(v.Rates.Received))
	for _, p := range v.Errors {
		line("Problem", "%s ago: %s", age(time.Since(p.Time)), p.Text)
	}
}

func (v statusView) tableLine() string {
	t := v.Table
	if t == nil {
		return "none yet"
	}
	s := fmt.Sprintf("%d from %s, routes: %d, clusters: %d, age: %s", t.Version, t.Source, t.Routes, t.Clusters, age(seconds(t.Age)))
	if t.Kept > 0 {
		s += fmt.Sprintf(", kept though the source has lost them: %d", t.Kept)
	}
	return s
}

func since(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " for " + age(time.Since(t))
}
