package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"time"

	"sluice/tests/bench/figure"
	"sluice/tests/bench/report"
)

func main() {
	is, err := play(os.Args[1:])
	if !is {
		err = do(os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// do does what the first argument says; without a verb, it measures.
func do(args []string) error {
	verb := ""
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		verb, args = args[0], args[1:]
	}
	switch verb {
	case "":
		return runBench(args)
	case "report":
		return runReport(args)
	case "check":
		return runCheck(args)
	case "expect":
		return runExpect(args)
	default:
		return fmt.Errorf("no verb is called %q: want none, report, check or expect", verb)
	}
}

// options are the flags of a run.
type options struct {
	sluice  string
	quick   bool
	rounds  int
	time    time.Duration
	only    string
	against string
	results string
	idle    bool
	part    bool // the flags make it less than a full or a quick run
}

func (o *options) flags(args []string) {
	fs := flag.NewFlagSet("bench", flag.ExitOnError)
	fs.StringVar(&o.sluice, "sluice", "bin/sluice", "Measure this `binary`.")
	fs.BoolVar(&o.quick, "quick", false, "Measure a few workloads only, for less time.")
	fs.IntVar(&o.rounds, "rounds", 0, "Give each contender this `number` of turns (default 5; 3 with -quick).")
	fs.DurationVar(&o.time, "time", 0, "Load a contender for this `duration` a turn (default 700ms; 500ms with -quick).")
	fs.StringVar(&o.only, "workloads", "", "Measure workloads whose name has this `regexp` in it.")
	fs.StringVar(&o.against, "contenders", "", "Measure contenders whose name has this `regexp` in it.")
	fs.StringVar(&o.results, "results", "bench/results", "Write what was measured to a file in this `directory`.")
	fs.BoolVar(&o.idle, "idle", true, "Measure what idle flows cost, too; not with -quick.")
	_ = fs.Parse(args)
	fs.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "rounds", "time", "workloads", "contenders", "idle":
			o.part = true
		}
	})
	rounds, load := 5, 700*time.Millisecond
	if o.quick {
		rounds, load, o.idle = 3, 500*time.Millisecond, false
	}
	if o.rounds == 0 {
		o.rounds = rounds
	}
	if o.time == 0 {
		o.time = load
	}
}

func (o options) mode() string {
	switch {
	case o.part:
		return figure.Part
	case o.quick:
		return figure.Quick
	default:
		return figure.Full
	}
}

// choose finds the workloads and contenders that the flags name.
func (o options) choose() (*bench, error) {
	only, err := regexp.Compile(o.only)
	if err != nil {
		return nil, fmt.Errorf("-workloads: %w", err)
	}
	against, err := regexp.Compile(o.against)
	if err != nil {
		return nil, fmt.Errorf("-contenders: %w", err)
	}
	b := &bench{options: o}
	for _, w := range workloads() {
		if only.MatchString(w.Name) && (w.Quick || !o.quick) {
			b.work = append(b.work, w)
		}
	}
	for _, c := range contenders(o.sluice) {
		if against.MatchString(c.Name) {
			b.all = append(b.all, c)
		}
	}
	switch {
	case b.work == nil:
		return nil, fmt.Errorf("-workloads: none is named %q", o.only)
	case b.all == nil:
		return nil, fmt.Errorf("-contenders: none is named %q", o.against)
	}
	return b, nil
}

// measured makes a run as the flags have it.
func (o options) measured() (*figure.Run, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("needs root, to create network namespaces")
	}
	b, err := o.choose()
	if err != nil {
		return nil, err
	}
	if err := b.measure(); err != nil {
		return nil, err
	}
	return b.run, nil
}

func runBench(args []string) error {
	var o options
	o.flags(args)
	r, err := o.measured()
	if err != nil {
		return err
	}
	report.Text(os.Stdout, r)
	path, err := r.Write(o.results)
	if err == nil {
		fmt.Println("\nwritten to", path)
	}
	return err
}

func commandOf(args []string) *exec.Cmd { return exec.Command(args[0], args[1:]...) }
