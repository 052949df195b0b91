package config

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestEnvName(t *testing.T) {
	for flagName, want := range map[string]string{
		"listen":        "SLUICE_LISTEN",
		"hello-timeout": "SLUICE_HELLO_TIMEOUT",
	} {
		if got := EnvName(flagName); got != want {
			t.Errorf("EnvName(%q) = %q, want %q", flagName, got, want)
		}
	}
}

func TestPrecedence(t *testing.T) {
	args := []string{"-name", "flag"}
	env := map[string]string{"SLUICE_NAME": "env"}
	const file = `name = "file"`
	for _, c := range []struct {
		name string
		in   input
		want string
	}{
		{"nothing", input{}, "default"},
		{"file", input{file: file}, "file"},
		{"environment", input{env: env}, "env"},
		{"environment and file", input{env: env, file: file}, "env"},
		{"flag", input{args: args}, "flag"},
		{"flag and file", input{args: args, file: file}, "flag"},
		{"flag and environment", input{args: args, env: env}, "flag"},
		{"all", input{args: args, env: env, file: file}, "flag"},
		{"empty variable and file", input{env: map[string]string{"SLUICE_NAME": ""}, file: file}, "file"},
		{"empty flag", input{args: []string{"-name", ""}, env: env, file: file}, ""},
		{"flag given as its default", input{args: []string{"-name", "default"}, env: env, file: file}, "default"},
		{"empty in file", input{file: `name = ""`}, ""},
		{"bad variable behind a flag", input{args: []string{"-name", "x", "-workers", "2"}, env: map[string]string{"SLUICE_WORKERS": "many"}}, "x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, problem := fill(t, c.in)
			if problem != "" || got.Name != c.want {
				t.Errorf("name is %q, want %q; error %q", got.Name, c.want, problem)
			}
		})
	}
}

func TestEveryKindOfValue(t *testing.T) {
	want := settings{
		HelloTimeout: 90 * time.Second,
		Workers:      1_000_000,
		ProxyIn:      true,
		Listen:       list{"[::]:8443", "0.0.0.0:8443"},
		Name:         "gateway 1",
		Ratio:        0.25,
	}
	for name, in := range map[string]input{
		"flags": {args: []string{"-hello-timeout=1m30s", "-workers=1000000", "-proxy-in",
			"-listen=[::]:8443,0.0.0.0:8443", "-name=gateway 1", "-ratio=0.25"}},
		"environment": {env: map[string]string{"SLUICE_HELLO_TIMEOUT": "1m30s", "SLUICE_WORKERS": "1000000",
			"SLUICE_PROXY_IN": "true", "SLUICE_LISTEN": "[::]:8443,0.0.0.0:8443", "SLUICE_NAME": "gateway 1", "SLUICE_RATIO": "0.25"}},
		"HCL": {file: `
			# comments are allowed
			hello_timeout = "1m30s"
			workers       = 1e6
			proxy_in      = true
			listen        = ["[::]:8443", "0.0.0.0:8443"]
			name          = "gateway 1"
			ratio         = 0.25
			`},
		"HCL, all as strings": {file: `
			hello_timeout = "1m30s"
			workers       = "1000000"
			proxy_in      = "true"
			listen        = "[::]:8443,0.0.0.0:8443"
			name          = "gateway 1"
			ratio         = "0.25"
			`},
		"JSON": {ext: ".json", file: `{
			"hello_timeout": "1m30s",
			"workers": 1000000,
			"proxy_in": true,
			"listen": ["[::]:8443", "0.0.0.0:8443"],
			"name": "gateway 1",
			"ratio": 0.25
			}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, problem := fill(t, in)
			if diff := cmp.Diff(want, got); problem != "" || diff != "" {
				t.Errorf("error %q (-want +got):\n%s", problem, diff)
			}
		})
	}
}

func TestProblemsNameTheirPlace(t *testing.T) {
	for _, c := range []struct {
		name string
		in   input
		want string // the whole error, or its beginning before "..."
	}{
		{"unknown setting", input{file: "\nworkerz = 2"}, "sluice.hcl:2: unknown setting workerz"},
		{"a flag's own spelling", input{file: `hello-timeout = "1s"`}, "sluice.hcl:1: unknown setting hello-timeout"},
		{"a file that names a file", input{file: `config = "other"`}, "sluice.hcl:1: unknown setting config"},
		{"unknown setting, JSON", input{ext: ".json", file: "{\n\"workerz\": 2}"}, "sluice.json:2: unknown setting workerz"},
		{"bad value", input{file: "# x\n# y\nworkers = \"many\""}, `sluice.hcl:3: invalid value "many" for workers: parse error`},
		{"bad value, JSON", input{ext: ".json", file: "{\n\n\"workers\": \"many\"}"}, `sluice.json:3: invalid value "many" for workers: parse error`},
		{"bad item", input{file: `listen = ["good", "bad"]`}, `sluice.hcl:1: invalid value "good,bad" for listen: bad is not allowed`},
		{"no unit", input{file: `hello_timeout = 5`}, `sluice.hcl:1: invalid value "5" for hello_timeout: parse error`},
		{"null", input{file: `name = null`}, "sluice.hcl:1: name: has no value"},
		{"null in a list", input{file: `listen = ["a", null]`}, "sluice.hcl:1: listen: must be a string, a number, true or false, or a list of these"},
		{"list in a list", input{file: `listen = [["a"]]`}, "sluice.hcl:1: listen: must be a string, a number, true or false, or a list of these"},
		{"object", input{file: `name = { a = 1 }`}, "sluice.hcl:1: name: must be a string, a number, true or false, or a list of these"},
		{"object, JSON", input{ext: ".json", file: `{"name": {"a": 1}}`}, "sluice.json:1: name: must be a string, a number, true or false, or a list of these"},
		{"variable", input{file: `name = other`}, "sluice.hcl:1: name: ..."},
		{"nested block", input{file: "workers = 2\n\nname {\n}\n"}, "sluice.hcl:3: ..."},
		{"twice", input{file: "workers = 2\nworkers = 3"}, "sluice.hcl:2: Attribute redefined: ..."},
		{"broken syntax", input{file: "workers = 2\nname = [\n"}, "sluice.hcl:..."},
		{"broken syntax, JSON", input{ext: ".json", file: "{\n\"workers\": }"}, "sluice.json:2: ..."},
		{"not an object, JSON", input{ext: ".json", file: "7"}, "sluice.json:1: ..."},
		{
			"bad variable",
			input{env: map[string]string{"SLUICE_WORKERS": "many"}},
			`environment variable SLUICE_WORKERS: invalid value "many": parse error`,
		},
		{
			"bad variable before a good file",
			input{env: map[string]string{"SLUICE_WORKERS": "many"}, file: `workers = 2`},
			`environment variable SLUICE_WORKERS: invalid value "many": parse error`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, got := fill(t, c.in)
			begin, _, cut := strings.Cut(c.want, "...")
			if !cut && got != c.want || cut && (!strings.HasPrefix(got, begin) || len(got) <= len(begin)) {
				t.Errorf("error is\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// TestAllProblemsAtOnce has one of each kind: all are told, those of the file in
// its order, however often it is tried.
func TestAllProblemsAtOnce(t *testing.T) {
	in := input{
		env: map[string]string{"SLUICE_RATIO": "half", "SLUICE_PROXY_IN": "perhaps"},
		file: `zzz = 1
hello_timeout = "soon"
name {
}
aaa = 2
workers = []
name = null
mmm = 3
`,
	}
	want := []string{
		`environment variable SLUICE_PROXY_IN: invalid value "perhaps": parse error`,
		`environment variable SLUICE_RATIO: invalid value "half": parse error`,
		`sluice.hcl:1: unknown setting zzz`,
		`sluice.hcl:2: invalid value "soon" for hello_timeout: parse error`,
		`sluice.hcl:3: Unexpected "name" block: Blocks are not allowed here.`,
		`sluice.hcl:5: unknown setting aaa`,
		`sluice.hcl:6: invalid value "" for workers: parse error`,
		`sluice.hcl:7: name: has no value`,
		`sluice.hcl:8: unknown setting mmm`,
	}
	for range 20 {
		_, got := fill(t, in)
		if diff := cmp.Diff(want, strings.Split(got, "\n")); diff != "" {
			t.Fatalf("errors (-want +got):\n%s", diff)
		}
	}
}

// TestGoodSettingsStandBesideBadOnes does not stop at the first problem.
func TestGoodSettingsStandBesideBadOnes(t *testing.T) {
	got, problem := fill(t, input{file: "aaa = 1\nworkers = 7\nzzz = 1"})
	if got.Workers != 7 || problem == "" {
		t.Errorf("workers is %d, want 7; error %q", got.Workers, problem)
	}
}

func TestMissingFile(t *testing.T) {
	fs := flag.NewFlagSet("test", flag.ContinueOnError)
	for _, path := range []string{"/nonexistent/sluice.hcl", "/nonexistent/sluice.json"} {
		if err := Fill(fs, os.LookupEnv, path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("error is %v, want one that names %s", err, path)
		}
	}
}

func FuzzFile(f *testing.F) {
	f.Add(`workers = 2`, false)
	f.Add("name {\n}", false)
	f.Add(`listen = ["a", 1, true]`, false)
	f.Add(`name = "${a.b[0]}"`, false)
	f.Add(`name = "${a b}"`, false) // HCL has three paragraphs to say about it
	f.Add(`{"workers": [1, {"a": null}]}`, true)
	f.Fuzz(func(t *testing.T, file string, json bool) {
		ext := ".hcl"
		if json {
			ext = ".json"
		}
		_, problem := fill(t, input{file: file, ext: ext})
		for line := range strings.Lines(problem) {
			if strings.TrimSpace(line) == "" {
				t.Errorf("an empty problem in %q", problem)
			}
		}
	})
}
