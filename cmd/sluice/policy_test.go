package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"sluice/userspace/admin"
)

func TestPolicyVerb(t *testing.T) {
	f := &fakeAgent{}
	socket, _ := answering(t, f)
	run := func(args ...string) (int, string) {
		var out, errs bytes.Buffer
		c := &policyCommand{env: environment{&out, &errs, func(string) (string, bool) { return "", false }}}
		return c.Run(append(args, "-socket", socket)), errs.String()
	}
	for _, c := range []struct {
		args []string
		want admin.Policy
	}{
		{[]string{"web.x", "-path=splice"}, admin.Policy{Route: "web.x", Path: "splice"}},
		{[]string{"-limit", "5", "*.x", "-credit", "128KiB"}, admin.Policy{Route: "*.x", Credit: 128 << 10, MaxFlows: 5}},
		{[]string{"web.x", "-clear"}, admin.Policy{Route: "web.x"}},
	} {
		if status, errs := run(c.args...); status != exitOK || errs != "" {
			t.Errorf("%q: status %d, %s", c.args, status, errs)
		} else if got := f.policies[len(f.policies)-1]; got != c.want {
			t.Errorf("%q: the agent was told %+v", c.args, got)
		}
	}
	told := len(f.policies)
	for _, args := range [][]string{
		{"web.x"}, {"web.x", "-clear", "-limit=3"}, {"-path=splice"}, {"-clear"}, {"a", "b", "-clear"}, {"web.x", "-credit=lots"}, {"-format=xml"},
	} {
		if status, errs := run(args...); status != exitUsage || errs == "" {
			t.Errorf("%q: status %d, %s", args, status, errs)
		}
	}
	if status, errs := run("Web.x", "-limit=3"); status != exitError || !strings.Contains(errs, "upper case") {
		t.Errorf("a bad name: status %d, %s", status, errs)
	}
	if len(f.policies) != told {
		t.Errorf("the agent was told %+v", f.policies[told:])
	}
	f.err = errors.New("no room")
	if status, errs := run("web.x", "-limit=3"); status != exitError || !strings.Contains(errs, "no room") {
		t.Errorf("an agent that fails: status %d, %s", status, errs)
	}
}
