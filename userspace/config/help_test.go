package config

import (
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// settings are flags of every kind, with their defaults.
type settings struct {
	HelloTimeout time.Duration
	Workers      int
	ProxyIn      bool
	Listen       list
	Name         string
	Ratio        float64
}

func defaults() settings {
	return settings{HelloTimeout: time.Second, Workers: 1, Name: "default", Ratio: 0.5}
}

// list is a flag of a comma-separated list, which refuses the item "bad".
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(s string) error {
	*l = strings.Split(s, ",")
	for _, item := range *l {
		if item == "bad" {
			return errors.New("bad is not allowed")
		}
	}
	return nil
}

// input is all that settings come from.
type input struct {
	args []string
	env  map[string]string
	file string // its contents, "" for no file
	ext  string // "" for .hcl
}

// fill parses in as a command does. The directory of the file is cut off from
// the error.
func fill(t *testing.T, in input) (settings, string) {
	t.Helper()
	s := defaults()
	fs := flag.NewFlagSet("test", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.DurationVar(&s.HelloTimeout, "hello-timeout", s.HelloTimeout, "")
	fs.IntVar(&s.Workers, "workers", s.Workers, "")
	fs.BoolVar(&s.ProxyIn, "proxy-in", s.ProxyIn, "")
	fs.Var(&s.Listen, "listen", "")
	fs.StringVar(&s.Name, "name", s.Name, "")
	fs.Float64Var(&s.Ratio, "ratio", s.Ratio, "")
	fs.String("config", "", "")
	if err := fs.Parse(in.args); err != nil {
		t.Fatal(err)
	}
	path := ""
	if in.file != "" {
		if in.ext == "" {
			in.ext = ".hcl"
		}
		path = filepath.Join(t.TempDir(), "sluice"+in.ext)
		if err := os.WriteFile(path, []byte(in.file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lookup := func(name string) (string, bool) {
		v, ok := in.env[name]
		return v, ok
	}
	if err := Fill(fs, lookup, path); err != nil {
		return s, strings.ReplaceAll(err.Error(), filepath.Dir(path)+"/", "")
	}
	return s, ""
}
