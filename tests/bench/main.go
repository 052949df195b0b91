package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

func main() {
	is, err := play(os.Args[1:])
	if !is {
		err = run(os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	sluice  string
	rounds  int
	time    time.Duration
	only    string
	against string
	results string
	idle    bool
}

func run(args []string) error {
	var o options
	fs := flag.NewFlagSet("bench", flag.ExitOnError)
	fs.StringVar(&o.sluice, "sluice", "bin/sluice", "Measure this `binary`.")
	fs.IntVar(&o.rounds, "rounds", 5, "Give each contender this `number` of turns.")
	fs.DurationVar(&o.time, "time", 2*time.Second, "Load a contender for this `duration` a turn.")
	fs.StringVar(&o.only, "workloads", "", "Measure workloads whose name has this `regexp` in it.")
	fs.StringVar(&o.against, "contenders", "", "Measure contenders whose name has this `regexp` in it.")
	fs.StringVar(&o.results, "results", "bench/results", "Write what was measured to a file in this `directory`.")
	fs.BoolVar(&o.idle, "idle", true, "Measure what idle flows cost, too.")
	_ = fs.Parse(args)
	if os.Geteuid() != 0 {
		return errors.New("needs root, to create network namespaces")
	}
	only, err := regexp.Compile(o.only)
	if err != nil {
		return err
	}
	work, err := findWorkloads(only.MatchString)
	if err != nil {
		return err
	}
	against, err := regexp.Compile(o.against)
	if err != nil {
		return err
	}
	var who []*contender
	for _, c := range contenders(o.sluice) {
		if against.MatchString(c.name) {
			who = append(who, c)
		}
	}
	return o.measure(who, work)
}

func (o options) measure(who []*contender, work []workload) error {
	s, err := newSite()
	if err != nil {
		return err
	}
	defer s.Close()
	for i, c := range who {
		if err := c.begin(s, i); err != nil {
			return err
		}
	}
	r := &results{Machine: thisMachine(o.sluice), Begun: time.Now(), Rounds: o.rounds}
	for round := range o.rounds {
		for _, w := range work {
			for _, c := range who {
				got, err := s.turn(c, w, o.time)
				if err != nil {
					return fmt.Errorf("%s at %s: %w", c.name, w.Name, err)
				}
				got.Round = round
				r.Samples = append(r.Samples, got)
				fmt.Fprintf(os.Stderr, "round %d  %-32s %-16s %s %s\n", round+1, w.Name, c.name, figure(got.rate(w)), w.Unit)
			}
		}
	}
	if o.idle {
		for _, c := range who {
			if c.cmd == nil {
				continue
			}
			fmt.Fprintf(os.Stderr, "%d idle flows  %s\n", idleFlows, c.name)
			got, err := s.idle(c)
			if err != nil {
				got = idle{Contender: c.name, Failed: err.Error()}
			}
			r.Idle = append(r.Idle, got)
		}
	}
	r.print(os.Stdout, who, work)
	return r.write(o.results)
}

// turn loads one contender once.
func (s *site) turn(c *contender, w workload, time time.Duration) (sample, error) {
	before, err := busy()
	if err != nil {
		return sample{}, err
	}
	ownBefore, err := ownBusy(c.cmd)
	if err != nil {
		return sample{}, err
	}
	m, err := s.load(order{Addr: c.address(w), Name: serverName, Workload: w, Time: time})
	if err != nil {
		return sample{}, err
	}
	ownAfter, err := ownBusy(c.cmd)
	if err != nil {
		return sample{}, err
	}
	after, err := busy()
	return sample{Contender: c.name, Workload: w.Name, measured: m, CPU: after - before, Own: ownAfter - ownBefore}, err
}

// write puts everything into a file of its own.
func (r *results) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	name := strings.ReplaceAll(r.Begun.UTC().Format(time.RFC3339), ":", "") + ".json"
	return os.WriteFile(filepath.Join(dir, name), append(text, '\n'), 0o644)
}
