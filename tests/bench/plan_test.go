package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/tests/bench/figure"
)

func TestRotate(t *testing.T) {
	for _, test := range []struct {
		list string
		n    int
		want string
	}{
		{"", 0, ""}, {"", 3, ""}, {"a", 5, "a"}, {"abc", 0, "abc"}, {"abc", 1, "bca"}, {"abc", 2, "cab"}, {"abc", 3, "abc"}, {"abc", 7, "bca"},
	} {
		list := []byte(test.list)
		if got := string(rotate(list, test.n)); got != test.want || string(list) != test.list {
			t.Errorf("rotate(%q, %d) = %q, want %q; the list is now %q", test.list, test.n, got, test.want, list)
		}
	}
}

// named takes part in what has its name's letter in it.
func named(name string) contender {
	return contender{Contender: figure.Contender{Name: name}, at: func(w workload) bool { return strings.Contains(w.Name, name) }}
}

func TestPlan(t *testing.T) {
	var got []string
	for _, turn := range plan(3, []workload{{Name: "abc"}, {Name: "bc"}}, []contender{named("a"), named("b"), named("c")}) {
		got = append(got, fmt.Sprint(turn.round, turn.w.Name, turn.who.Name))
	}
	want := []string{
		"0abca", "0abcb", "0abcc", "0bcc", "0bcb",
		"1abcb", "1abcc", "1abca", "1bcb", "1bcc",
		"2abcc", "2abca", "2abcb", "2bcc", "2bcb",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got) %s", diff)
	}
}

func TestLeft(t *testing.T) {
	for _, test := range []struct{ done, all, took, want time.Duration }{
		{0, 10, 5, 10}, // nothing is known yet
		{5, 10, 5, 5},
		{5, 10, 10, 10}, // twice as slow as was thought
		{10, 10, 30, 0},
	} {
		if got := left(test.done, test.all, test.took); got != test.want {
			t.Errorf("left(%d, %d, %d) = %d, want %d", test.done, test.all, test.took, got, test.want)
		}
	}
}

// TestLength: the runs take as long as is promised, by estimate.
func TestLength(t *testing.T) {
	for _, test := range []struct {
		args     []string
		min, max time.Duration
		mode     string
	}{
		{nil, 10 * time.Minute, 17 * time.Minute, figure.Full},
		{[]string{"-quick"}, time.Minute, 3 * time.Minute, figure.Quick},
	} {
		var o options
		o.flags(test.args)
		b, err := o.choose()
		if err != nil {
			t.Fatal(err)
		}
		var takes time.Duration
		for _, turn := range plan(b.rounds, b.work, b.all) {
			takes += turn.takes(b.time)
		}
		t.Logf("%v: %v", test.args, takes)
		if takes < test.min || takes > test.max || b.mode() != test.mode {
			t.Errorf("%v takes %v, want %v to %v; it is %s, want %s", test.args, takes, test.min, test.max, b.mode(), test.mode)
		}
	}
}

func TestChoose(t *testing.T) {
	for _, test := range []struct {
		args []string
		mode string
		err  string
	}{
		{[]string{"-workloads", "^bulk", "-contenders", "haproxy"}, figure.Part, ""},
		{[]string{"-quick", "-rounds", "1"}, figure.Part, ""},
		{[]string{"-workloads", "dance"}, figure.Part, `-workloads: none is named "dance"`},
		{[]string{"-contenders", "dance"}, figure.Part, `-contenders: none is named "dance"`},
		{[]string{"-workloads", "("}, figure.Part, "-workloads: error parsing regexp"},
		{[]string{"-contenders", "("}, figure.Part, "-contenders: error parsing regexp"},
	} {
		var o options
		o.flags(test.args)
		b, err := o.choose()
		switch {
		case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
			t.Errorf("%v: the error is %v, want one with %q", test.args, err, test.err)
		case test.err == "" && err != nil:
			t.Errorf("%v: %v", test.args, err)
		case err == nil && b.mode() != test.mode:
			t.Errorf("%v is %s, want %s", test.args, b.mode(), test.mode)
		}
	}
}

// TestWorkloads: names tell samples apart, each workload has somebody of each side, and
// where there is a limit there is one.
func TestWorkloads(t *testing.T) {
	seen := map[string]bool{}
	for _, w := range workloads() {
		if seen[w.Name] {
			t.Errorf("two workloads are called %q", w.Name)
		}
		seen[w.Name] = true
		roles := map[figure.Role]int{}
		for _, c := range takers(contenders("sluice"), w) {
			roles[c.Role]++
		}
		limits := 1
		if w.Routes > 0 {
			limits = 0
		}
		if roles[figure.Limit] != limits || roles[figure.Sluice] == 0 || roles[figure.Peer] < 2 {
			t.Errorf("at %q are %v", w.Name, roles)
		}
		if chains[w.Layout] == nil {
			t.Errorf("%q is in the layout %q, which there is not", w.Name, w.Layout)
		}
	}
}
