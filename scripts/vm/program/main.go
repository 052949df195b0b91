// Command program runs the tests of this tree that depend on the kernel on those
// that Sluice supports, one virtual machine after the other: "make test-kernels".
// See suite.go for what runs, and scripts/vm for how.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"sluice/scripts/vm"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		os.Exit(1)
	}
}

// options are what a person can ask for.
type options struct {
	kernels  string
	packages string
	run      string
	timeout  time.Duration
	cpus     int
	memory   int
}

func run(ctx context.Context, args []string) error {
	var opt options
	fs := flag.NewFlagSet("program", flag.ExitOnError)
	fs.StringVar(&opt.kernels, "kernels", "", "Run only on the kernels of these `releases`, separated by commas.")
	fs.StringVar(&opt.packages, "packages", "", "Run only the tests of these `packages` of the suite, separated by commas.")
	fs.StringVar(&opt.run, "run", "", "Run only the tests that match this `pattern`, as of go test.")
	fs.DurationVar(&opt.timeout, "timeout", 25*time.Minute, "End a machine that has not done its work after this `duration`.")
	fs.IntVar(&opt.cpus, "cpus", 2, "Give machines this `number` of processors.")
	fs.IntVar(&opt.memory, "memory", 2048, "Give machines so many `MiB` of memory.")
	if err := fs.Parse(args); err != nil {
		return err
	}
	releases, err := choose(vm.Releases, opt.kernels, func(r vm.Release) string { return r.Name })
	if err != nil {
		return err
	}
	wanted, err := choose(suite, opt.packages, func(t tests) string { return t.Package })
	if err != nil {
		return err
	}
	if opt.run != "" {
		for i := range wanted {
			wanted[i].Run = opt.run
		}
	}
	return testKernels(ctx, opt, releases, wanted)
}

// choose takes what was asked for by name, separated by commas, or all.
func choose[T any](all []T, names string, name func(T) string) ([]T, error) {
	if names == "" {
		return slices.Clone(all), nil
	}
	var chosen []T
	for want := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(one T) bool { return name(one) == want })
		if i < 0 {
			var known []string
			for _, one := range all {
				known = append(known, name(one))
			}
			return nil, fmt.Errorf("no %q here: want some of %s", want, strings.Join(known, ", "))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// testKernels builds once, then runs everything on each kernel, and sums up.
func testKernels(ctx context.Context, opt options, releases []vm.Release, wanted []tests) error {
	begun := time.Now()
	cache, err := vm.CacheDir()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "sluice-kernels-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	built, err := build(ctx, dir, wanted)
	if err != nil {
		return err
	}
	var sum summary
	for _, r := range releases {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		k, err := vm.Fetch(ctx, cache, r, os.Stdout)
		if err != nil {
			return err
		}
		sum.add(testKernel(ctx, opt, k, built))
	}
	sum.print(os.Stdout, time.Since(begun))
	return sum.err()
}
