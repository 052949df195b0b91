package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"sluice/scripts/vm"
)

// result is how a kernel did.
type result struct {
	kernel  *vm.Kernel
	tests   []tests
	run     *vm.Run               // nil if the machine was not even started
	reports map[string]*vm.Report // by package
	err     error                 // why the machine did not do all its work
}

// testKernel runs all tests in one machine and shows what they print.
func testKernel(ctx context.Context, opt options, k *vm.Kernel, b *built) *result {
	ctx, cancel := context.WithTimeoutCause(ctx, opt.timeout, fmt.Errorf("its work was not done in %v", opt.timeout))
	defer cancel()
	res := &result{kernel: k, tests: b.tests, reports: map[string]*vm.Report{}}
	payload := b.payload
	for _, t := range b.tests {
		payload.Programs = append(payload.Programs, t.program(opt, k.Release))
		res.reports[t.Package] = &vm.Report{}
	}
	fmt.Printf("%-5s| booting %s\n", k.Release, k.Version)
	m := &vm.Machine{Kernel: k, CPUs: opt.cpus, MemoryMiB: opt.memory, Line: func(program, text string) {
		show := true
		if r := res.reports[program]; r != nil {
			text, show = r.Line(text)
		}
		if show {
			fmt.Printf("%-5s| %s\n", k.Release, text)
		}
	}}
	res.run, res.err = m.Run(ctx, payload)
	if res.err != nil && ctx.Err() != nil {
		res.err = fmt.Errorf("%w: %w", context.Cause(ctx), res.err)
	}
	return res
}

// problems are all that is wrong with it.
func (r *result) problems() []error {
	var errs []error
	ended := map[string]vm.Ended{}
	if r.run != nil {
		for _, e := range r.run.Programs {
			ended[e.Name] = e
		}
		for _, trouble := range r.run.Troubles {
			if known(r.kernel.Release, trouble) == "" {
				errs = append(errs, fmt.Errorf("the kernel complained:\n%s", trouble))
			}
		}
	}
	if r.err != nil {
		errs = append(errs, r.err)
	}
	for _, t := range r.tests {
		e, ok := ended[t.Package]
		if !ok {
			errs = append(errs, fmt.Errorf("%s: did not run to its end", t.Package))
		} else if err := r.reports[t.Package].Check(e.Status, t.MaySkip); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", t.Package, err))
		}
	}
	return errs
}

// summary is how all kernels did.
type summary struct{ results []*result }

func (s *summary) add(r *result) { s.results = append(s.results, r) }

func (s *summary) err() error {
	var errs []error
	for _, r := range s.results {
		for _, err := range r.problems() {
			errs = append(errs, fmt.Errorf("kernel %s: %w", r.kernel.Version, err))
		}
	}
	return errors.Join(errs...)
}

// print shows a table and, as the last line, the tests of all kernels.
func (s *summary) print(out io.Writer, took time.Duration) {
	fmt.Fprintln(out, strings.Repeat("-", 72))
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	var passed, failed, skipped int
	for _, r := range s.results {
		if r.run == nil {
			fmt.Fprintf(w, "%s\tdid not run\n", r.kernel.Version)
			continue
		}
		fmt.Fprintf(w, "%s\tboot\t\t\t\t%v\n", r.kernel.Version, r.run.Boot.Round(100*time.Millisecond))
		for _, e := range r.run.Programs {
			rep := r.reports[e.Name]
			fmt.Fprintf(w, "\t%s\t%d passed\t%d failed\t%d skipped\t%v\n", e.Name,
				len(rep.Passed), len(rep.Failed), len(rep.Skipped), e.Took.Round(100*time.Millisecond))
		}
		for _, trouble := range r.run.Troubles {
			if why := known(r.kernel.Release, trouble); why != "" {
				first, _, _ := strings.Cut(trouble, "\n")
				fmt.Fprintf(w, "\tknown of %s: %s (%s)\n", r.kernel.Release, why, first)
			}
		}
		for _, rep := range r.reports {
			passed += len(rep.Passed)
			failed += len(rep.Failed)
			skipped += len(rep.Skipped)
		}
	}
	w.Flush()
	fmt.Fprintf(out, "all kernels in %v\n", took.Round(time.Second))
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", passed, failed, skipped)
}
