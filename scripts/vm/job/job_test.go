package job

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEventsAmongOutput(t *testing.T) {
	end := Event{Kind: End, Name: "./tests", Status: 137}
	for _, tc := range []struct {
		name, line, before string
		event              Event
		ok                 bool
	}{
		{"an event", end.Line(), "", end, true},
		{"behind what had no newline", "PASS" + end.Line(), "PASS", end, true},
		{"plain output", "--- PASS: TestX\n", "--- PASS: TestX\n", Event{}, false},
		{"what only looks like one", mark + "{", mark + "{", Event{}, false},
		{"nothing", "", "", Event{}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before, e, ok := Parse(tc.line)
			if before != tc.before || e != tc.event || ok != tc.ok {
				t.Errorf("got %q, %+v, %v", before, e, ok)
			}
		})
	}
}

func TestEventsAreLines(t *testing.T) {
	line := Event{Kind: Problem, Text: "first\nsecond"}.Line()
	if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
		t.Errorf("not one line: %q", line)
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "job.json")
	if _, err := Load(path); err == nil {
		t.Error("no file: want an error")
	}
	if err := os.WriteFile(path, []byte(`{"Programs": 1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("not a job: want an error that names the file, got %v", err)
	}
	text := `{"Modules": ["/a.ko"], "Programs": [{"Name": "x", "Argv": ["/x", "-v"], "Env": ["A=1"], "Dir": "/"}]}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	want := Job{Modules: []string{"/a.ko"}, Programs: []Program{{"x", []string{"/x", "-v"}, []string{"A=1"}, "/"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
