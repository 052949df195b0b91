package main

import (
	"flag"
	"slices"
	"testing"
)

func TestParseMixed(t *testing.T) {
	for _, c := range []struct {
		args  []string
		names []string
		x     string
		b     bool
	}{
		{nil, nil, "", false},
		{[]string{"-x", "1", "name"}, []string{"name"}, "1", false},
		{[]string{"name", "-x=1", "-b"}, []string{"name"}, "1", true},
		{[]string{"one", "--x", "1", "two", "-b", "three"}, []string{"one", "two", "three"}, "1", true},
		{[]string{"--", "-x", "1"}, []string{"-x", "1"}, "", false},
		{[]string{"one", "--", "-b"}, []string{"one", "-b"}, "", false},
		{[]string{"-"}, []string{"-"}, "", false},
	} {
		fs := flag.NewFlagSet("test", flag.ContinueOnError)
		x, b := fs.String("x", "", ""), fs.Bool("b", false, "")
		names, err := parseMixed(fs, c.args)
		if err != nil || !slices.Equal(names, c.names) || !slices.Equal(fs.Args(), c.names) || *x != c.x || *b != c.b {
			t.Errorf("%q: names %q (%q), x %q, b %t, %v", c.args, names, fs.Args(), *x, *b, err)
		}
	}
}
