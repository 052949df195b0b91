package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"sluice/userspace/admin"
	"sluice/userspace/explain"
	"sluice/userspace/mirror"
	"sluice/userspace/registration"
	"sluice/userspace/route"
)

type policyCommand struct{ env environment }

// policySettings are the flags of the verb.
type policySettings struct {
	reach  reach
	out    output
	policy admin.Policy
	credit sizeValue
	clear  bool
}

func (s *policySettings) flags() *flag.FlagSet {
	fs := flag.NewFlagSet("policy", flag.ContinueOnError)
	s.reach.register(fs)
	s.reach.registerPins(fs)
	s.out.register(fs)
	fs.StringVar(&s.policy.Path, "path", "", "Carry the route's flows by this `path`: auto, splice or sockmap.")
	fs.Var(&s.credit, "credit", "Let the kernel have this `size` of a flow's bytes on their way to a receiver.")
	fs.IntVar(&s.policy.MaxFlows, "limit", 0, "Serve at most this `number` of the route's flows at a time.")
	fs.BoolVar(&s.clear, "clear", false, "Follow the table again.")
	return fs
}

func (c *policyCommand) Synopsis() string { return "Overrule the options of a route" }

func (c *policyCommand) Help() string {
	return flagHelp(`
Usage: sluice policy [options]
       sluice policy NAME -path=PATH -credit=SIZE -limit=NUMBER
       sluice policy NAME -clear

  Without a name, lists what operators have set. With one, overrules what the table has
  for the route of that name, as "sluice routes" shows it, at once and until it is
  cleared: restarts do not matter, nor that the route leaves the table and comes back.
  All of a policy is set at a time: what is not given is as the route has it.

  Path and credit hold for flows that are under way, too, as far as the kernel's program
  has a say: a flow that is on sockmap stays there, and its bytes go through userspace.
`, new(policySettings).flags())
}

func (c *policyCommand) Run(args []string) int {
	var set policySettings
	fs := set.flags()
	if status, ok := parseFlags(fs, args, c.env, 1); !ok {
		return status
	}
	err := set.out.check()
	if err == nil {
		err = set.choose(fs.Arg(0))
	}
	if err != nil {
		fail(c.env, "policy", err)
		return exitUsage
	}
	if set.policy.Route == "" {
		from, note := set.reach.pins(c.env), silence{env: c.env, verb: "policy"}
		return set.out.show(c.env, "policy", func(context.Context) (view, error) {
			v, err := policies(from, &note)
			return v, set.reach.missed(c.env, err)
		})
	}
	client := set.reach.client(c.env)
	defer client.Close()
	if err := client.SetPolicy(context.Background(), set.policy); err != nil {
		return fail(c.env, "policy", set.meant(c.env, err))
	}
	what := "cleared"
	if !set.clear {
		what = "set, until it is cleared"
	}
	fmt.Fprintf(c.env.stdout, "policy of %s: %s\n", set.policy.Route, what)
	return exitOK
}

// meant adds to the error of a policy that was not set the routes that the name may have
// been short for.
func (s *policySettings) meant(env environment, err error) error {
	err = s.reach.missed(env, err)
	table, e := openTable(s.reach.pins(env))
	if e != nil {
		return err
	}
	defer table.Close()
	read, e := mirror.Read(table.Store())
	if e != nil || read.Table == nil || read.Table.Route(s.policy.Route) != nil {
		return err
	}
	is, e := explain.Choose(read.Table, s.policy.Route)
	if e != nil {
		return err
	}
	var names []string
	for r := range read.Table.Routes() {
		if is(r.Name) {
			names = append(names, r.Name)
		}
	}
	slices.Sort(names)
	if n := len(names); n == 0 || n > mostMeant {
		return err
	}
	return fmt.Errorf("%w; its whole name is wanted:\n%s", err, strings.Join(names, "\n"))
}

// mostMeant is how many names help.
const mostMeant = 8

// choose sees that what is given makes sense together.
func (s *policySettings) choose(name string) error {
	s.policy.Route, s.policy.Credit = name, int(s.credit)
	some := s.policy.Path != "" || s.policy.Credit != 0 || s.policy.MaxFlows != 0
	switch {
	case name == "" && (some || s.clear):
		return errors.New("which route? give its NAME")
	case name != "" && some == s.clear:
		return errors.New("give some of -path, -credit and -limit, or else -clear")
	case s.policy.Path != "" && !slices.Contains(registration.Paths, s.policy.Path):
		return fmt.Errorf("-path=%q: want one of %s", s.policy.Path, strings.Join(registration.Paths, ", "))
	case s.policy.MaxFlows < 0:
		return errors.New("-limit must not be negative")
	case s.credit != 0 && (s.credit < route.MinCredit || s.credit > route.MaxCredit):
		return errors.New("-credit must be between 64KiB and 65536KiB")
	}
	return nil
}

// policies reads them from the maps, so that no gateway need be running.
func policies(from pinned, note *silence) (view, error) {
	table, err := openTable(from)
	if err != nil {
		return nil, err
	}
	defer table.Close()
	note.of(table)
	read, err := mirror.Read(table.Store())
	if err != nil {
		return nil, err
	}
	list := policyView{}
	for name, state := range read.States {
		if o := state.Policy; o != (route.Options{}) {
			list = append(list, admin.Policy{Route: name, Path: o.Path, Credit: o.Credit, MaxFlows: o.MaxFlows})
		}
	}
	slices.SortFunc(list, func(a, b admin.Policy) int { return cmp.Compare(a.Route, b.Route) })
	return list, nil
}

// policyView shows policies.
type policyView []admin.Policy

func (v policyView) table(w io.Writer) {
	fmt.Fprintln(w, "NAME\tPATH\tCREDIT\tLIMIT")
	dash := func(n int) string {
		if n == 0 {
			return "-"
		}
		return fmt.Sprint(n)
	}
	for _, p := range v {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", p.Route, cmp.Or(p.Path, "-"), dash(p.Credit), dash(p.MaxFlows))
	}
}
