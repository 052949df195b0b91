package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sluice/scripts/consul/consultest"
	"sluice/scripts/lab/labtest"
)

// need skips the test where the lab cannot run, and returns the sluice binary.
func need(t *testing.T) string {
	t.Helper()
	labtest.NeedRoot(t)
	if _, err := findTools("/bin/true"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%v, and CI=true allows no skipping", err)
		}
		t.Skip(err)
	}
	consultest.Need(t)
	return build(t, "sluice/cmd/sluice")
}

func build(t *testing.T, what string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), filepath.Base(what))
	if out, err := exec.Command("go", "build", "-o", path, what).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v: %s", what, err, out)
	}
	return path
}

// prefix names the labs of this test, which may run beside one that is kept.
const prefix = "sluice-labtest"

func TestWholeLab(t *testing.T) {
	t.Setenv("KEEP", "")
	sluice := need(t)
	labtest.NoLeaks(t)
	var out, errs bytes.Buffer
	if status := run(t.Context(), []string{"-sluice", sluice, "-name", prefix}, &out, &errs); status != 0 {
		t.Fatalf("exit status %d: %s\n%s", status, errs.String(), out.String())
	}
	for _, want := range []string{
		"routes come by xDS", "spiffe://$TD/ns/default/dc/dc1/svc/web", "spiffe://$TD/ns/default/dc/dc2/svc/api: " + greeting,
		"proxy-defaults global: MeshGateway", "service-defaults web: MeshGateway",
		"sluice_source_connected 0", "in maintenance", "Exit status 0",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the lab does not show %q:\n%s", want, out.String())
		}
	}
}

// TestKept checks that what is left up outlives the program that made it, that the
// commands it tells to try work, and that it can be removed.
func TestKept(t *testing.T) {
	sluice := need(t)
	program := build(t, "sluice/scripts/datacenters")
	out, err := exec.Command(program, "-sluice", sluice, "-name", prefix, "-keep").CombinedOutput()
	defer func() {
		if down, err := exec.Command(program, "-name", prefix, "-down").CombinedOutput(); err != nil || !strings.Contains(string(down), "removed "+prefix) {
			t.Errorf("-down: %v: %s", err, down)
		}
	}()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, c := range []struct{ command, want string }{
		{"openssl s_client -connect 10.0.2.2", greeting},
		{"openssl s_client -connect 10.0.3.2", greeting},
		{" modes ", "service-defaults web: MeshGateway"},
		{" curl -s ", "sluice_source_connected 1"},
		{"consul services deregister -id api", "Deregistered service: api"},
	} {
		line := ""
		for l := range strings.Lines(string(out)) {
			if strings.HasPrefix(l, "     ") && strings.Contains(l, c.command) && strings.Contains(l, "ip netns exec") {
				line = strings.TrimSpace(l)
			}
		}
		if said, err := exec.Command("bash", "-c", line).CombinedOutput(); line == "" || err != nil || !strings.Contains(string(said), c.want) {
			t.Errorf("%s: %v: says %q, want something of %q", line, err, said, c.want)
		}
	}
	askKept(t, string(out))
}

// tried finds a command among what a kept lab says to try, by a part of it.
func tried(t *testing.T, out, part string) string {
	t.Helper()
	for line := range strings.Lines(out) {
		if command, ok := strings.CutPrefix(line, "     "); ok && strings.Contains(command, part) {
			return strings.TrimSpace(command)
		}
	}
	t.Fatalf("nothing like %q is told to try:\n%s", part, out)
	return ""
}

// askKept tries the verbs in the shell of a gateway, while that runs, after it was killed,
// and after it was started again.
func askKept(t *testing.T, out string) {
	shell := tried(t, out, "SLUICE_INSTANCE=gateway1 ")
	run := func(command string) (status int, said string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "bash", "-c", shell)
		cmd.Stdin = strings.NewReader(command)
		b, err := cmd.CombinedOutput()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), string(b)
	}
	ask := func(command string, status int, want string) {
		t.Helper()
		if got, said := run(command); got != status || !strings.Contains(said, want) {
			t.Errorf("%s: status %d, want %d and something of %q:\n%s", command, got, status, want, said)
		}
	}
	limit := tried(t, out, "-limit=1")
	for _, c := range []struct {
		command string
		status  int
		want    string
	}{
		{"sluice status", 0, "ready"},
		{"sluice routes", 0, "*.dc2.internal."},
		{"sluice flows", 0, "RETRANS"},
		{"timeout --preserve-status -s INT 2 sluice top", 0, `state="ready"`},
		{"sluice explain api.default.dc2", 0, "Served:"},
		{"sluice explain api", 3, "Refused:"},
		{"sluice maps", 0, "LPMTrie"},
		{"sluice maps routes", 0, "*.dc2.internal."},
		{"sluice maps clusters -raw", 0, "01000000"},
		// An agent of Consul that has just started tries its checks when their time comes.
		{"timeout 60 sh -c 'until sluice check; do sleep 0.2; done'", 0, " 0 fail"},
		{"sluice modes", 0, "api in dc2"},
		{"sluice version", 0, "sluice "},
		{limit, 0, "set"},
		{"sluice policy", 0, "*.dc2.internal."},
		{"sluice kill -source 10.0.0.0/8", 1, "no such flow"},
		{"sluice reload", 0, "opened again"},
		{tried(t, out, "kill -9"), 0, ""},
		{"sluice status", 1, "does not answer: it has ended"},
		{"sluice routes", 0, "does not answer (it has ended)"},
		{"sluice explain api.default.dc2", 0, "of 1 at most"},
		{"sluice maps", 0, "LPMTrie"},
		{"sluice policy", 0, "*.dc2.internal."},
		{"sluice gateway >/dev/null 2>&1 & until sluice status 2>/dev/null | grep ready; do sleep 0.1; done", 0, "ready"},
		{tried(t, out, "-clear"), 0, "cleared"},
		{"sluice drain -wait", 0, "has ended"},
		{"sluice unload", 0, "nothing of instance gateway1 is left"},
	} {
		ask(c.command, c.status, c.want)
	}
}

// stopAt cancels once a word was written.
type stopAt struct {
	bytes.Buffer
	word   string
	cancel context.CancelFunc
}

func (w *stopAt) Write(p []byte) (int, error) {
	n, err := w.Buffer.Write(p)
	if strings.Contains(w.String(), w.word) {
		w.cancel()
	}
	return n, err
}

// TestInterrupted checks that wherever the lab is interrupted, nothing stays.
func TestInterrupted(t *testing.T) {
	sluice := need(t)
	labtest.NoLeaks(t)
	for _, word := range []string{"1. Two datacenters", "connect proxy"} {
		ctx, cancel := context.WithCancel(t.Context())
		out := &stopAt{word: word, cancel: cancel}
		var errs bytes.Buffer
		status := run(ctx, []string{"-sluice", sluice, "-name", prefix, "-keep"}, out, &errs)
		cancel()
		if status != 1 || !strings.Contains(errs.String(), "interrupted") {
			t.Errorf("interrupted at %q: exit status %d: %s", word, status, errs.String())
		}
		if left, _ := filepath.Glob("/run/netns/" + prefix + "-*"); len(left) > 0 {
			t.Errorf("interrupted at %q: %q left", word, left)
		}
	}
}

func TestGatewayThatEnds(t *testing.T) {
	need(t)
	t.Setenv("KEEP", "")
	script := filepath.Join(t.TempDir(), "sluice")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho this is why >&2\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	status := run(t.Context(), []string{"-sluice", script, "-name", prefix}, &out, &errs)
	if status != 1 || !strings.Contains(errs.String(), "exit status 3") || !strings.Contains(out.String(), "this is why") {
		t.Errorf("exit status %d: %s\n%s", status, errs.String(), out.String())
	}
}
