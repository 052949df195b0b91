package vm

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const printed = "\x16=== RUN   TestA\n" +
	"\x16=== RUN   TestA/one\n" +
	"some output without an end\x16=== NAME  TestA\n" +
	"    a_test.go:3: a note\n" +
	"\x16--- PASS: TestA (0.10s)\n" +
	"    \x16--- PASS: TestA/one (0.00s)\n" +
	"    \x16--- SKIP: TestA/two (0.00s)\n" +
	"\x16--- FAIL: TestB (1.00s)\n" +
	"\x16--- SKIP: TestC (0.00s)\n" +
	"FAIL\n"

func TestReport(t *testing.T) {
	var r Report
	var shown []string
	for line := range strings.Lines(printed) {
		if text, ok := r.Line(strings.TrimSuffix(line, "\n")); ok {
			shown = append(shown, text)
		}
	}
	want := Report{Passed: []string{"TestA", "TestA/one"}, Failed: []string{"TestB"}, Skipped: []string{"TestA/two", "TestC"}}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Error(diff)
	}
	wantShown := []string{
		"    a_test.go:3: a note", "--- PASS: TestA (0.10s)", "--- SKIP: TestA/two (0.00s)",
		"--- FAIL: TestB (1.00s)", "--- SKIP: TestC (0.00s)", "FAIL",
	}
	if diff := cmp.Diff(wantShown, shown); diff != "" {
		t.Error(diff)
	}
}

func TestReportCheck(t *testing.T) {
	passed := []string{"TestA"}
	for _, tc := range []struct {
		name   string
		report Report
		status int
		may    []string
		want   string // in the error; "": none
	}{
		{"all passed", Report{Passed: passed}, 0, nil, ""},
		{"a skip that may be", Report{Passed: passed, Skipped: []string{"TestC"}}, 0, []string{"TestC"}, ""},
		{"a skip that must not be", Report{Passed: passed, Skipped: []string{"TestC"}}, 0, nil, "skipped, and must not be: TestC"},
		{"a failure", Report{Passed: passed, Failed: []string{"TestB"}}, 1, nil, "failed: TestB"},
		{"a crash", Report{Passed: passed}, 2, nil, "status 2"},
		{"nothing ran", Report{}, 0, nil, "no test passed"},
		{"many", Report{Passed: passed, Failed: strings.Split("abcdefghijk", "")}, 1, nil, "h and 3 more"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.report.Check(tc.status, tc.may)
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("got %v, want none", err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestTroubles(t *testing.T) {
	const console = `[    0.000000] Linux version 6.1.0-56-cloud-amd64
[    0.100000] Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on
[   12.345678] ------------[ cut here ]------------
[   12.345679] WARNING: CPU: 1 PID: 77 at net/core/stream.c:208 sk_stream_kill_queues+0x103/0x110
[   12.345680] Call Trace:
[   99.000000] plain
`
	got := troubles(console + strings.Repeat("filler\n", around) + "[  100.0] BUG: kernel NULL pointer dereference\n")
	if len(got) != 2 {
		t.Fatalf("want two, got %d: %q", len(got), got)
	}
	if !strings.Contains(got[0], "sk_stream_kill_queues") || !strings.Contains(got[0], "Call Trace") {
		t.Errorf("the first lacks its lines: %s", got[0])
	}
	if !strings.HasPrefix(got[1], "[  100.0] BUG") {
		t.Errorf("the second is %q", got[1])
	}
	ended := strings.Replace(console, "plain", endTrace+"0000000000000000 ]---\n[   99.1] BUG: x", 1)
	if got := troubles(ended); len(got) != 2 || !strings.HasPrefix(got[1], "[   99.1] BUG") {
		t.Errorf("what comes after the end of a trace is taken for a part of it: %q", got)
	}
	for _, line := range []string{
		"Kernel panic - not syncing: Fatal exception", "[    1.0] Oops: 0000 [#1] PREEMPT SMP",
		"[    1.0] unregister_netdevice: waiting for lo to become free. Usage count = 2",
		"[    1.0] INFO: task sluice:99 blocked for more than 120 seconds.",
		"[    1.0] sluice: page allocation failure: order:4",
	} {
		if len(troubles(line)) != 1 {
			t.Errorf("not noticed: %s", line)
		}
	}
	if got := troubles("[    1.0] a WARNING: in the middle\nBUG\n"); got != nil {
		t.Errorf("noticed: %q", got)
	}
}
