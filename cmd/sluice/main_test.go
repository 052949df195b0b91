package main

import (
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
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

// TestManual: the page has every verb and every flag, and no line that man would take
// for a macro of its own.
func TestManual(t *testing.T) {
	var page strings.Builder
	all := verbs(environment{lookupEnv: os.LookupEnv})
	if err := writeManual(&page, all); err != nil {
		t.Fatal(err)
	}
	for name, verb := range all {
		if !strings.Contains(page.String(), "\n.SS "+name+"\n") {
			t.Errorf("no verb %s", name)
		}
		command, err := verb()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(command.Help()) {
			if !strings.Contains(page.String(), roff(line)) {
				t.Errorf("%s: no line %q", name, line)
			}
		}
	}
	for line := range strings.Lines(page.String()) {
		if macro := regexp.MustCompile(`^[.'](\S*)`).FindStringSubmatch(line); macro != nil &&
			!slices.Contains([]string{"TH", "SH", "SS", "B", "I", "PP", "nf", "fi"}, macro[1]) {
			t.Errorf("macro %q: %s", macro[1], line)
		}
	}
	if got := roff(".hidden -flag \\n"); got != `\&.hidden \-flag \en` {
		t.Errorf("quoted as %s", got)
	}
}
