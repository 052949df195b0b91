package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sluice/userspace/admission"
	"sluice/userspace/explain"
)

// tableReader is what a gateway's table is read from while the gateway works, or after
// it has gone.
type tableReader interface {
	// Read returns all there is now, the counters of the routes included.
	Read(ctx context.Context) (*explain.Facts, error)
	// Counts returns only the counters.
	Counts(ctx context.Context) (explain.Sample, error)
	// Source asks the gateway how it stands to an address that flows come from.
	Source(ctx context.Context, address netip.Addr) (*admission.Standing, error)
	Close() error
}

// openReader opens the maps of a gateway. It is a field of the verbs that need it, so
// that tests can give another.
type openReader func(pinned) (tableReader, error)

type routesCommand struct {
	env  environment
	open openReader
}

// routesSettings are the flags of the verb.
type routesSettings struct {
	reach reach
	out   output
}

func (s *routesSettings) flags() *flag.FlagSet {
	fs := flag.NewFlagSet("routes", flag.ContinueOnError)
	s.reach.register(fs)
	s.reach.registerPins(fs)
	s.out.register(fs)
	return fs
}

func (c *routesCommand) Synopsis() string { return "List the routes and what they are doing" }

func (c *routesCommand) Help() string {
	return flagHelp(`
Usage: sluice routes [options] [NAME]

  The routes of a gateway's table: the cluster that each leads to, how many of its
  endpoints are healthy, the path that its flows are to take, and their flows, bytes and
  rates. A "*" behind the path says that an operator overrules the route's options.

  NAME is that of a route; or a pattern, in which "*" stands for any text; or a part of
  the name of a service, datacenter or server. With a dot in it, it is a part of the whole
  name. "sluice explain" says more of a single one.

  All is read from the gateway's pinned maps, so the gateway need not be running; when it
  does not answer, a line of stderr says so, and how old the table is. Rates are those
  since the last look with -watch, and else measured over a tenth of a second.

  The exit status is 1 when there is no such route, or no table.
`, new(routesSettings).flags())
}

func (c *routesCommand) Run(args []string) int {
	var set routesSettings
	fs := set.flags()
	if status, ok := parseTableFlags(fs, args, c.env, &set.out); !ok {
		return status
	}
	reader, err := c.open(set.reach.pins(c.env))
	if err != nil {
		return fail(c.env, "routes", set.reach.missed(c.env, err))
	}
	defer reader.Close()
	l := &routesLook{reader: reader, word: fs.Arg(0), silence: silence{env: c.env, verb: "routes"}}
	return set.out.show(c.env, "routes", l.look)
}

// parseTableFlags is parseFlags for the verbs that read the table, which take one
// argument.
func parseTableFlags(fs *flag.FlagSet, args []string, env environment, out *output) (status int, ok bool) {
	if status, ok := parseFlags(fs, args, env, 1); !ok {
		return status, false
	}
	if err := out.check(); err != nil {
		fail(env, fs.Name(), err)
		return exitUsage, false
	}
	return exitOK, true
}

// routesLook is what each look at the routes needs of the one before it.
type routesLook struct {
	reader  tableReader
	word    string
	former  *explain.Sample
	silence silence
}

func (l *routesLook) look(ctx context.Context) (view, error) {
	facts, err := l.reader.Read(ctx)
	if err != nil {
		return nil, err
	}
	chosen, err := explain.Choose(facts.Table, l.word)
	if err != nil {
		return nil, err
	}
	rows := explain.Rows(facts, chosen, l.former)
	first := l.former == nil
	if first {
		if err := l.rate(ctx, rows, &facts.Counts); err != nil {
			return nil, err
		}
	}
	l.former = &facts.Counts
	l.silence.tell(facts.Meta.Silent, facts.Meta.Age)
	// A route that goes while it is watched may come back.
	if first && len(rows) == 0 {
		return nil, l.nothing(facts)
	}
	return routesView(rows), nil
}

// rate looks at the counters another time, for there to be rates at the first look.
func (l *routesLook) rate(ctx context.Context, rows []explain.Row, counts *explain.Sample) error {
	before := *counts
	if err := pause(ctx, rateTime-time.Since(before.At)); err != nil {
		return err
	}
	var err error
	if *counts, err = l.reader.Counts(ctx); err != nil {
		return err
	}
	explain.Count(rows, counts, &before)
	return nil
}

// nothing is why there is nothing to show.
func (l *routesLook) nothing(f *explain.Facts) error {
	switch {
	case f.Table == nil:
		return errors.New("there is no table yet")
	case l.word == "":
		return errors.New("the table has no routes")
	case strings.Contains(l.word, "*"):
		return fmt.Errorf("no route has a name like %q", l.word)
	}
	var near []string
	for _, n := range explain.Explain(f, l.word).Near {
		near = append(near, n.Name)
	}
	if len(near) == 0 {
		return fmt.Errorf("no route has %q in its name", l.word)
	}
	return fmt.Errorf("no route has %q in its name; near are:\n%s", l.word, strings.Join(near, "\n"))
}

// routesView shows a list of routes.
type routesView []explain.Row

func (v routesView) table(w io.Writer) {
	fmt.Fprintln(w, "NAME\tCLUSTER\tHEALTHY\tPATH\tFLOWS\tTOTAL\tNEW\tSENT\tRECEIVED\tRATE\tFAILED\tREFUSED")
	for i := range v {
		r := &v[i]
		rates := cmp.Or(r.Rates, &explain.Rates{})
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%.0f/s\t%s\t%s\t%s/s\t%d\t%s\n",
			r.Name, clusterCell(r), healthCell(r), pathCell(r), r.Active, r.Flows, rates.Flows,
			quantity(float64(r.Sent)), quantity(float64(r.Received)), quantity(rates.Sent+rates.Received),
			r.ConnectFailures, refusedCell(r))
	}
}

// clusterCell does not repeat the long name that Consul gives to both.
func clusterCell(r *explain.Row) string {
	switch r.Cluster {
	case r.Name:
		return "(same)"
	case "":
		return "-"
	}
	return r.Cluster
}

func healthCell(r *explain.Row) string {
	if r.Cluster == "" {
		return "-"
	}
	return fmt.Sprintf("%d/%d", r.Healthy, r.Endpoints)
}

func pathCell(r *explain.Row) string {
	if r.Override {
		return r.Path + "*"
	}
	return r.Path
}

// refusedCell is the last one, for it can be long: how many flows were refused by which
// reason, and why all are.
func refusedCell(r *explain.Row) string {
	var all []string
	for _, reason := range slices.Sorted(maps.Keys(r.Refused)) {
		all = append(all, fmt.Sprintf("%s %d", reason, r.Refused[reason]))
	}
	if r.Refuse != "" {
		all = append(all, "all: "+r.Refuse)
	}
	return cmp.Or(strings.Join(all, ", "), "-")
}
