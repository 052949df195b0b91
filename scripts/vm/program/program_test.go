package main

import (
	"errors"
	"os"
	"strings"
	"testing"

	"sluice/scripts/vm"
)

func TestChoose(t *testing.T) {
	name := func(s string) string { return s }
	all := []string{"a", "b", "c"}
	for _, tc := range []struct{ names, want, wrong string }{
		{names: "", want: "a b c"},
		{names: "c,a", want: "c a"},
		{names: "a,d", wrong: `no "d" here: want some of a, b, c`},
	} {
		got, err := choose(all, tc.names, name)
		if strings.Join(got, " ") != tc.want || (err == nil) != (tc.wrong == "") || err != nil && err.Error() != tc.wrong {
			t.Errorf("%q: got %q, %v", tc.names, got, err)
		}
	}
}

// TestSuiteExists finds packages that were moved.
func TestSuiteExists(t *testing.T) {
	for _, s := range suite {
		if _, err := os.Stat("../../../" + s.Package); err != nil {
			t.Error(err)
		}
	}
}

func TestResultTellsOfEverything(t *testing.T) {
	passed := &vm.Report{Passed: []string{"TestA"}}
	good := func() *result {
		return &result{
			kernel:  &vm.Kernel{Version: "6.1.0"},
			tests:   []tests{{Package: "./a"}, {Package: "./b", MaySkip: []string{"TestS"}}},
			run:     &vm.Run{Programs: []vm.Ended{{Name: "./a"}, {Name: "./b"}}},
			reports: map[string]*vm.Report{"./a": passed, "./b": {Passed: []string{"TestB"}, Skipped: []string{"TestS"}}},
		}
	}
	for _, tc := range []struct {
		name, want string
		spoil      func(*result)
	}{
		{"nothing", "", func(*result) {}},
		{"a machine that did not start", "./a: did not run to its end", func(r *result) { r.run = nil }},
		{"a machine that ended early", "no power", func(r *result) { r.err = errors.New("no power") }},
		{"a package that did not run", "./b: did not run to its end", func(r *result) { r.run.Programs = r.run.Programs[:1] }},
		{"a package that failed", "./a: it ended with status 1", func(r *result) { r.run.Programs[0].Status = 1 }},
		{"a complaint", "the kernel complained:\nBUG: x", func(r *result) { r.run.Troubles = []string{"BUG: x"} }},
		{"what 6.1 is known for, elsewhere", "WARNING: CPU: 1 PID: 51 at net/ipv4/af_inet.c:154 inet_sock_destruct", func(r *result) {
			r.run.Troubles = []string{"[1.2] WARNING: CPU: 1 PID: 51 at net/ipv4/af_inet.c:154 inet_sock_destruct+0x184/0x1b0\nmore"}
		}},
		{"what 6.1 is known for", "", func(r *result) {
			r.kernel.Release = "6.1"
			r.run.Troubles = []string{"[1.2] WARNING: CPU: 1 PID: 51 at net/ipv4/af_inet.c:154 inet_sock_destruct+0x184/0x1b0\nmore"}
		}},
		{"another complaint of 6.1 beside it", "the kernel complained:\nBUG: x", func(r *result) {
			r.kernel.Release = "6.1"
			r.run.Troubles = []string{"BUG: x\ninet_sock_destruct"}
		}},
		{"a skip", "skipped, and must not be: TestS", func(r *result) { r.tests[1].MaySkip = nil }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := good()
			tc.spoil(r)
			sum := summary{[]*result{r}}
			err := sum.err()
			if tc.want == "" {
				if err != nil {
					t.Errorf("got %v, want none", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), "kernel 6.1.0: ") || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestSummaryEndsWithTheCount(t *testing.T) {
	r := &result{
		kernel:  &vm.Kernel{Version: "6.1.0"},
		run:     &vm.Run{Programs: []vm.Ended{{Name: "./a"}}},
		reports: map[string]*vm.Report{"./a": {Passed: []string{"TestA", "TestA/b"}, Failed: []string{"TestC"}}},
	}
	var out strings.Builder
	sum := summary{[]*result{r, {kernel: &vm.Kernel{Version: "6.12.0"}}}}
	sum.print(&out, 0)
	if !strings.HasSuffix(out.String(), "\n2 passed, 1 failed, 0 skipped\n") || !strings.Contains(out.String(), "did not run") {
		t.Errorf("printed:\n%s", out.String())
	}
}
