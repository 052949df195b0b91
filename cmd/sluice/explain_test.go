package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"sluice/userspace/explain"
)

// explainRun runs the verb on what the reader has.
func explainRun(r *fakeReader, args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	c := &explainCommand{env: tableEnv(&out, &errs, nil), open: r.open}
	status = c.Run(args)
	return status, out.String(), errs.String()
}

func TestExplainTable(t *testing.T) {
	r := newFakeReader(t)
	status, stdout, stderr := explainRun(r, "web")
	if status != exitOK || stderr != "" {
		t.Errorf("status %d, stderr %q", status, stderr)
	}
	for _, want := range []string{
		"Name:      web.default.dc1.internal.x.consul (completed from web",
		"Endpoint:  10.0.0.2:20000  weight 1  critical  not taken: it is critical",
		"Path:      sockmap (wanted: sockmap, an operator's override)",
		"Served: ",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not in\n%s", want, stdout)
		}
	}
	if !r.closed {
		t.Error("the reader was not closed")
	}
}

// TestExplainStatus holds the exit statuses that scripts go by.
func TestExplainStatus(t *testing.T) {
	for _, c := range []struct {
		args   []string
		want   int
		reason string
	}{
		{[]string{"-format=json", "web"}, exitOK, ""},
		{[]string{"-format=json", "wbe"}, exitRefused, "unknown_service"},
		{[]string{"-format=json", "db"}, exitRefused, "all_critical"},
		{[]string{"-format=json", "old.example.com"}, exitRefused, "refused_by_route"},
		{[]string{"-format=json", "a b"}, exitRefused, "invalid_name"},
		{[]string{"-format=json", "web", "-source=10.0.0.1"}, exitOK, ""},
		{[]string{"-format=json", "web", "-source", "10.0.0.66"}, exitRefused, "denied"},
		{[]string{"web", "-source=10.0.0.0/8"}, exitUsage, ""},
		{[]string{}, exitUsage, ""},
		{[]string{"a", "b"}, exitUsage, ""},
		{[]string{"-format=yaml", "web"}, exitUsage, ""},
	} {
		status, stdout, stderr := explainRun(newFakeReader(t), c.args...)
		if status != c.want || (stdout == "") == (stderr == "") {
			t.Errorf("%q: status %d, want %d; stdout %q, stderr %q", c.args, status, c.want, stdout, stderr)
		}
		if stdout == "" {
			continue
		}
		var e explain.Explanation
		if err := json.Unmarshal([]byte(stdout), &e); err != nil {
			t.Errorf("%q: %v", c.args, err)
			continue
		}
		if reason := e.Refusal; (reason == nil) != (c.reason == "") || reason != nil && reason.Reason != c.reason {
			t.Errorf("%q: refusal %+v, want %q", c.args, reason, c.reason)
		}
	}
}

func TestExplainErrors(t *testing.T) {
	r := newFakeReader(t)
	r.err = errors.New("read map meta: of a later version")
	if status, stdout, stderr := explainRun(r, "web"); status != exitError || stdout != "" || stderr != "sluice explain: read map meta: of a later version\n" {
		t.Errorf("status %d, stdout %q, stderr %q", status, stdout, stderr)
	}
	r = newFakeReader(t)
	r.sourceErr = errors.New("no agent answers")
	if status, stdout, stderr := explainRun(r, "web", "-source=::1"); status != exitError || stdout != "" || stderr != "sluice explain: no agent answers\n" {
		t.Errorf("status %d, stdout %q, stderr %q", status, stdout, stderr)
	}
	r = newFakeReader(t)
	r.facts.Table = nil
	if status, stdout, _ := explainRun(r, "web"); status != exitRefused || !strings.Contains(stdout, "no_table") {
		t.Errorf("without a table: status %d, stdout %q", status, stdout)
	}
	if _, _, stderr := explainRun(r); !strings.Contains(stderr, "which NAME?") {
		t.Errorf("without a name: %q", stderr)
	}
	c := &explainCommand{}
	if !strings.Contains(c.Help(), "Usage: sluice explain [options] NAME") || c.Synopsis() == "" {
		t.Error("there is no help")
	}
}
