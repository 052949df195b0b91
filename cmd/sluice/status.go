package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
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
	s.reach.registerPins(fs)
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

  When the gateway does not answer, its maps tell what it has left: the table, how old
  that is, how full they are, and what flows have moved. The exit status is 1 then. Only
  root and the group of its socket may ask.
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
	silent := false
	status := set.out.show(c.env, "status", func(ctx context.Context) (view, error) {
		s, err := client.Status(ctx)
		if silent = err != nil; silent {
			s, err = set.left(c.env, err)
		}
		return statusView{s}, err
	})
	if status == exitOK && silent {
		return exitError
	}
	return status
}

// left is what the maps tell when the agent does not answer for some reason, which is the
// error when they do not tell either.
func (s *statusSettings) left(env environment, why error) (*admin.Status, error) {
	if s.reach.socket != "" && s.reach.instance == "" {
		return nil, why // whose socket it is, and so whose maps count, is not known
	}
	status, err := left(s.reach.pins(env), why)
	if errors.Is(err, os.ErrNotExist) {
		return nil, s.reach.missed(env, why)
	}
	if err != nil {
		return nil, fmt.Errorf("%w\n%w", why, err)
	}
	return status, nil
}

// statusView shows a status.
type statusView struct{ *admin.Status }

func (v statusView) table(w io.Writer) {
	line := func(name, format string, args ...any) { fmt.Fprintf(w, name+":\t"+format+"\n", args...) }
	if v.State == admin.Silent {
		v.left(line)
		return
	}
	line("Version", "%s, process %d, instance %s", v.Version, v.PID, v.Instance)
	line("State", "%s, up %s", v.State, age(seconds(v.Uptime)))
	line("Kernel", "%s", v.Kernel)
	line("Table", "%s", v.tableLine())
	if t := v.Table; t != nil && !t.Connected {
		line("Source", "not connected%s: the last table stays", since(t.Since))
	}
	line("Listeners", "%s", v.listeners())
	for _, p := range v.Paths {
		state := "on"
		if !p.On {
			state = "off: " + p.Why
		}
		line("Path "+p.Name, "%s", state)
	}
	v.fill(line)
	line("Flows", "%d now, %d since the start, %.0f/s new", v.Flows, v.Begun, v.Rates.Flows)
	line("Sent", "%s, %s/s", quantity(float64(v.Sent)), quantity(v.Rates.Sent))
	line("Received", "%s, %s/s", quantity(float64(v.Received)), quantity(v.Rates.Received))
	for _, p := range v.Errors {
		line("Problem", "%s ago: %s", age(time.Since(p.Time)), p.Text)
	}
}

// left shows what the maps tell.
func (v statusView) left(line liner) {
	line("State", "instance %s %s: %s", v.Instance, v.State, v.Why)
	line("Known", "from its maps alone")
	line("Table", "%s", v.tableLine())
	line("Listeners", "%s", cmp.Or(v.listeners(), "not known"))
	v.fill(line)
	line("Flows", "%d now, %d since they are counted", v.Flows, v.Begun)
	line("Sent", "%s", quantity(float64(v.Sent)))
	line("Received", "%s", quantity(float64(v.Received)))
}

// liner writes a line with a name.
type liner func(name, format string, args ...any)

func (v statusView) fill(line liner) {
	for _, m := range v.Maps {
		line("Map "+m.Name, "%d of %d", m.Used, m.Max)
	}
}

func (v statusView) listeners() string {
	var all []string
	for _, addr := range v.Listeners {
		all = append(all, addr.String())
	}
	return strings.Join(all, ", ")
}

func (v statusView) tableLine() string {
	t := v.Table
	if t == nil {
		return "none yet"
	}
	from := t.Source
	if t.Index != "" {
		from += " (" + t.Index + ")"
	}
	s := fmt.Sprintf("%d from %s, routes: %d, clusters: %d, age: %s", t.Version, from, t.Routes, t.Clusters, age(seconds(t.Age)))
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
