package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"sluice/userspace/admin"
	"sluice/userspace/gateway"
)

type flowsCommand struct{ env environment }

// flowsSettings are the flags of the verb.
type flowsSettings struct {
	reach reach
	out   output
	which gateway.Selection
	order admin.Order
}

func (s *flowsSettings) flags() *flag.FlagSet {
	fs := flag.NewFlagSet("flows", flag.ContinueOnError)
	s.reach.register(fs)
	s.out.register(fs)
	selectionFlags(fs, &s.which, "Show")
	fs.StringVar(&s.order.By, "sort", "id", "Sort by this `column`: "+strings.Join(admin.Columns(), ", ")+". The largest bytes, rates, times and counts come first.")
	fs.IntVar(&s.order.Limit, "limit", 0, "Show this `number` of flows, the first ones. 0: all.")
	return fs
}

// selectionFlags say which flows are meant.
func selectionFlags(fs *flag.FlagSet, which *gateway.Selection, what string) {
	fs.StringVar(&which.Route, "route", "", what+" flows of the route of this `name`, as \"sluice routes\" has it.")
	fs.Func("source", what+" flows from this `network`, or address.", func(text string) error {
		prefixes, err := parsePrefix(text)
		if err != nil {
			return err
		}
		which.Source = prefixes[0]
		return nil
	})
}

func (s *flowsSettings) check() error {
	if err := s.order.Check(); err != nil {
		return err
	}
	return s.out.check()
}

func (c *flowsCommand) Synopsis() string { return "List the flows of a running gateway" }

func (c *flowsCommand) Help() string {
	return flagHelp(`
Usage: sluice flows [options]

  The flows that a running gateway has now. Rates are measured over a tenth of a second.
  RTT and RETRANS are what the kernel knows of a flow's two sockets, the client's first:
  the round-trip time, and how many segments were sent again since it was opened.

  A flow is in its "hello" until its client has said where it wants to go, "connecting"
  until an endpoint has answered, then "carried", by a path; or "refusing", for a moment,
  when there is nowhere to go.

  The exit status is 1 when the gateway does not answer. Only root and the group of its
  socket may ask.
`, new(flowsSettings).flags())
}

func (c *flowsCommand) Run(args []string) int {
	var set flowsSettings
	fs := set.flags()
	if status, ok := parseFlags(fs, args, c.env, 0); !ok {
		return status
	}
	if err := set.check(); err != nil {
		fail(c.env, "flows", err)
		return exitUsage
	}
	client := set.reach.client(c.env)
	defer client.Close()
	return set.out.show(c.env, "flows", func(ctx context.Context) (view, error) {
		flows, err := client.Flows(ctx, set.which, set.order)
		return flowsView(flows), set.reach.missed(c.env, err)
	})
}

// flowsView shows a list of flows.
type flowsView []*admin.Flow

func (v flowsView) table(w io.Writer) {
	fmt.Fprintln(w, "ID\tSOURCE\tSNI\tENDPOINT\tPATH\tSTATE\tSENT\tRECEIVED\tRATE\tRTT\tRETRANS\tAGE")
	for _, f := range v {
		state := f.State
		if f.Refused != "" {
			state += ": " + f.Refused
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s/s\t%s\t%s\t%s\n",
			f.ID, f.Source, dash(f.SNI), dash(f.Endpoint), dash(f.Path), state,
			quantity(float64(f.Sent)), quantity(float64(f.Received)), quantity(f.Rate()),
			sides(f, func(t *admin.TCP) string { return roundTrip(t.RTT) }),
			sides(f, func(t *admin.TCP) string { return fmt.Sprint(t.Retransmits) }),
			age(time.Since(f.Start)))
	}
}

func dash(s string) string { return cmp.Or(s, "-") }

// sides is a cell with something of both of a flow's sockets, the client's first.
func sides(f *admin.Flow, what func(*admin.TCP) string) string {
	text := func(t *admin.TCP) string {
		if t == nil {
			return "-"
		}
		return what(t)
	}
	return text(f.Downstream) + "/" + text(f.UpstreamTCP)
}

// roundTrip is a round-trip time with two or three digits.
func roundTrip(s float64) string {
	d := seconds(s)
	unit := time.Microsecond
	for ; d >= 1000*unit; unit *= 10 {
	}
	return d.Round(unit).String()
}
