package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"sluice/tests/bench/figure"
)

// bench is a run under way.
type bench struct {
	options
	all     []contender
	work    []workload
	sites   map[string]*site
	entries map[string]*entry // by name
	run     *figure.Run
	say     *progress
}

// measure does all turns, and what else there is to see. SIGINT and SIGTERM end it
// after the turn.
func (b *bench) measure() error {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	b.sites, b.entries = map[string]*site{}, map[string]*entry{}
	b.run = &figure.Run{Begun: time.Now(), Mode: b.mode(), Rounds: b.rounds, Workloads: b.work, Machine: thisMachine()}
	for _, c := range b.all {
		if len(c.version) > 0 {
			c.Version = firstLine(commandOf(c.version))
		}
		b.run.Contenders = append(b.run.Contenders, c.Contender)
	}
	turns := plan(b.rounds, b.work, b.all)
	var takes time.Duration
	for _, t := range turns {
		takes += t.takes(b.time)
	}
	b.say = newProgress(os.Stderr, takes)
	defer b.say.end()
	defer b.close()
	if err := b.build(turns); err != nil {
		return err
	}
	if b.idle { // first, while nobody has grown by what else there was to do
		b.holdIdle()
	}
	b.say.begun = time.Now()
	for _, t := range turns {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		b.run.Samples = append(b.run.Samples, b.take(t))
	}
	if b.has(tableSizes) {
		b.say.say("look-ups")
		var err error
		b.run.Lookups, err = lookups([]int{1, 1000, 100_000})
		return err
	}
	return nil
}

// has tells whether a group is measured.
func (b *bench) has(group string) bool {
	for _, w := range b.work {
		if w.Group == group {
			return true
		}
	}
	return false
}

// build builds the layouts that turns need, and starts who takes them.
func (b *bench) build(turns []turn) error {
	for _, t := range turns {
		s := b.sites[t.w.Layout]
		if s == nil {
			b.say.say("build the layout %q", t.w.Layout)
			var err error
			if s, err = newSite(t.w.Layout); err != nil {
				return err
			}
			b.sites[t.w.Layout] = s
			if err := s.equip(b.work); err != nil {
				return err
			}
			for _, ns := range s.Namespaces {
				if err := describe(&b.run.Machine, s.layout, ns); err != nil {
					return err
				}
			}
		}
		if b.entries[t.entry()] != nil {
			continue
		}
		b.say.say("start %s, %s", t.who.Name, t.w.Layout)
		e, err := s.enter(t.who, t.w.Routes)
		if err != nil {
			return err
		}
		b.entries[t.entry()] = e
		e.known(b.run)
	}
	return nil
}

// entry names the entry whose turn it is.
func (t turn) entry() string { return fmt.Sprintf("%s, %s, %d", t.who.Name, t.w.Layout, t.w.Routes) }

func (b *bench) close() {
	for _, s := range b.sites {
		if err := s.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}
}

// take takes a turn. Who fails stays in the results with the reason.
func (b *bench) take(t turn) figure.Sample {
	e := b.entries[t.entry()]
	got := figure.Sample{Contender: t.who.Name, Workload: t.w.Name, Round: t.round}
	to := of(t.w.Kind)
	pids, err := family(e.cmds())
	if err == nil {
		got.Measured, err = e.site.drive(order{Addr: e.address(to).String(), Name: to.name, Workload: t.w, Time: b.time, PIDs: pids})
	}
	b.say.done += t.takes(b.time)
	shown := ""
	if err != nil {
		got.Failed = err.Error()
		shown = "FAILED: " + got.Failed
	} else {
		m := t.w.Metrics()[0]
		shown = fmt.Sprintf("%.4g %s", m.Of(got), m.Unit)
	}
	b.say.say("round %d of %d  %-32s %-16s %s", t.round+1, b.rounds, t.w.Name, t.who.Name, shown)
	return got
}

// drive has the clients of a workload do it.
func (s *site) drive(o order) (figure.Measured, error) {
	switch o.Workload.Kind {
	case figure.Iperf:
		return s.runIperf(o)
	case figure.Requests, figure.Connections:
		return s.runWrk(o)
	default:
		return s.load(o)
	}
}

// holdIdle sees what idle flows cost those who are at one hop.
func (b *bench) holdIdle() {
	for _, c := range b.all {
		e := b.entries[turn{who: c, w: workload{Layout: figure.OneHop}}.entry()]
		if e == nil || c.start == nil {
			continue
		}
		b.say.say("%d idle flows, %s", idleFlows, c.Name)
		b.run.Idle = append(b.run.Idle, e.idle())
	}
}
