package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"net/netip"

	"sluice/userspace/explain"
)

// exitRefused is the status of explain for a name that is refused: the answer is as good
// as any, and scripts can go by it.
const exitRefused = 3

type explainCommand struct {
	env  environment
	open openReader
}

// explainSettings are the flags of the verb.
type explainSettings struct {
	reach  reach
	out    output
	source netip.Addr
}

func (s *explainSettings) flags() *flag.FlagSet {
	fs := flag.NewFlagSet("explain", flag.ContinueOnError)
	s.reach.register(fs)
	s.reach.registerPins(fs)
	s.out.register(fs)
	fs.TextVar(&s.source, "source", netip.Addr{}, "Explain a flow from this `address`: -allow, -deny and -max-flows-per-source count too. The gateway must be running.")
	return fs
}

func (c *explainCommand) Synopsis() string { return "Explain what becomes of flows of a server name" }

func (c *explainCommand) Help() string {
	return flagHelp(`
Usage: sluice explain [options] NAME

  Step by step, what becomes of a flow that asks for the server NAME: the route that it
  falls under, the cluster, each endpoint and whether it is taken, limits and path; or
  why it is refused, what it is counted as then, what to do, and which names are near.

  NAME may be the beginning of a server name of Consul's: a service here ("web"), one of
  its subsets ("v1.web"), or one in a namespace or another datacenter ("web.default.dc2").

  All but what is said of a -source is read from the gateway's pinned maps, so the gateway
  need not be running.

  The exit status is 0 when a flow would be served, 3 when it would be refused, and 1
  when that could not be told.
`, new(explainSettings).flags())
}

func (c *explainCommand) Run(args []string) int {
	var set explainSettings
	fs := set.flags()
	if status, ok := parseTableFlags(fs, args, c.env, &set.out); !ok {
		return status
	}
	if fs.NArg() != 1 {
		fail(c.env, "explain", errors.New("which NAME? (see sluice explain -help)"))
		return exitUsage
	}
	reader, err := c.open(set.reach.pins(c.env))
	if err != nil {
		return fail(c.env, "explain", set.reach.missed(c.env, err))
	}
	defer reader.Close()
	refused := false
	status := set.out.show(c.env, "explain", func(ctx context.Context) (view, error) {
		facts, err := reader.Read(ctx)
		if err == nil && set.source.IsValid() {
			facts.Source, err = reader.Source(ctx, set.source)
		}
		if err != nil {
			return nil, err
		}
		e := explain.Explain(facts, fs.Arg(0))
		refused = e.Refusal != nil
		return explainView{e}, nil
	})
	if status == exitOK && refused {
		return exitRefused
	}
	return status
}

// explainView shows an explanation.
type explainView struct{ *explain.Explanation }

func (v explainView) table(w io.Writer) { v.Text(w) }
