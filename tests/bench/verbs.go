package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"

	"sluice/tests/bench/expect"
	"sluice/tests/bench/figure"
	"sluice/tests/bench/report"
)

// runReport puts the newest full run into the README.
func runReport(args []string) error {
	flags := flag.NewFlagSet("bench report", flag.ExitOnError)
	results := flags.String("results", "bench/results", "Take the newest full run of this `directory`.")
	readme := flags.String("readme", "README.md", "Write into this `file`, between its markers.")
	charts := flags.String("charts", "tests/bench/charts", "Write the pictures into this `directory`.")
	_ = flags.Parse(args)
	r, path, err := figure.Newest(*results, figure.Full)
	if err != nil {
		return missing(err, "make bench")
	}
	if err := report.Write(r, *readme, *charts); err != nil {
		return err
	}
	fmt.Printf("%s and %s now have %s\n", *readme, *charts, path)
	return nil
}

const expectedFile = "tests/bench/expected.json"

// runExpect takes what is expected from the newest quick run.
func runExpect(args []string) error {
	flags := flag.NewFlagSet("bench expect", flag.ExitOnError)
	results := flags.String("results", "bench/results", "Take the newest quick run of this `directory`.")
	file := flags.String("expected", expectedFile, "Write what is expected into this `file`.")
	_ = flags.Parse(args)
	r, path, err := figure.Newest(*results, figure.Quick)
	if err != nil {
		return missing(err, "make bench BENCH=quick")
	}
	e, err := expect.Of(r)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	fmt.Printf("%s now has %s\n", *file, path)
	return e.Write(*file)
}

// missing says what makes the results that are not there.
func missing(err error, command string) error {
	if errors.Is(err, figure.ErrNone) {
		return fmt.Errorf("%w; run %q first", err, command)
	}
	return err
}

// runCheck makes a quick run and holds it against what is expected.
func runCheck(args []string) error {
	var o options
	o.flags(append([]string{"-quick"}, args...))
	e, err := expect.Load(expectedFile)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; make it with %q and %q", err, "make bench BENCH=quick", "make bench-expect")
	}
	if err != nil {
		return err
	}
	r, err := o.measured()
	if err != nil {
		return err
	}
	if _, err := r.Write(o.results); err != nil {
		return err
	}
	verdicts, err := e.Check(r)
	if err != nil {
		return err
	}
	lost := 0
	for _, v := range verdicts {
		fmt.Fprintln(os.Stdout, v)
		if v.Lost {
			lost++
		}
	}
	if lost > 0 {
		return fmt.Errorf("%d of %d figures of Sluice lost more than %.0f %% of their ratio to the limit and to haproxy",
			lost, len(verdicts), 100*e.Margin)
	}
	return nil
}
