package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sluice/scripts/lab/labtest"
)

// needTools skips the test where the demo cannot run.
func needTools(t *testing.T) {
	t.Helper()
	labtest.NeedRoot(t)
	if _, err := findTools("/bin/true"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%v, and CI=true allows no skipping", err)
		}
		t.Skip(err)
	}
}

// build makes the binary to be shown.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sluice")
	if out, err := exec.Command("go", "build", "-o", path, "sluice/cmd/sluice").CombinedOutput(); err != nil {
		t.Fatalf("build sluice: %v: %s", err, out)
	}
	return path
}

func TestWholeDemo(t *testing.T) {
	t.Setenv("KEEP", "")
	needTools(t)
	sluice := build(t)
	labtest.NoLeaks(t)
	var out, errs bytes.Buffer
	if status := run(t.Context(), []string{"-sluice", sluice}, &out, &errs); status != 0 {
		t.Fatalf("exit status %d: %s\n%s", status, errs.String(), out.String())
	}
	for _, want := range []string{"<- equal", "unrecognized name", "unknown_name", "not_tls", "sluice_flows_total", "exit status 0"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the demo does not show %q:\n%s", want, out.String())
		}
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

// TestInterrupted checks that wherever the demo is interrupted, nothing stays.
func TestInterrupted(t *testing.T) {
	needTools(t)
	sluice := build(t)
	labtest.NoLeaks(t)
	for _, word := range []string{"1. A network", "Both say", "3. Requests", "5. A client", "6. A download", "8. What"} {
		ctx, cancel := context.WithCancel(t.Context())
		out := &stopAt{word: word, cancel: cancel}
		var errs bytes.Buffer
		status := run(ctx, []string{"-sluice", sluice, "-keep"}, out, &errs)
		cancel()
		if status != 1 || !strings.Contains(errs.String(), "interrupted") {
			t.Errorf("interrupted at %q: exit status %d: %s", word, status, errs.String())
		}
		_, id, _ := strings.Cut(out.String(), "(")
		id, _, _ = strings.Cut(id, "-client")
		if left, _ := filepath.Glob("/run/netns/" + id + "-*"); len(left) > 0 || id == "" {
			t.Errorf("interrupted at %q: %q left", word, left)
		}
	}
}

func TestGatewayThatEnds(t *testing.T) {
	needTools(t)
	t.Setenv("KEEP", "")
	script := filepath.Join(t.TempDir(), "sluice")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho this is why >&2\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	status := run(t.Context(), []string{"-sluice", script}, &out, &errs)
	if status != 1 || !strings.Contains(errs.String(), "exit status 3") || !strings.Contains(out.String(), "this is why") {
		t.Errorf("exit status %d: %s\n%s", status, errs.String(), out.String())
	}
}
