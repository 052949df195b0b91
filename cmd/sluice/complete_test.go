package main

import (
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/cli"
	"github.com/posener/complete"
)

// TestEveryVerbCompletes: each flag that the help of a verb has, and no other.
func TestEveryVerbCompletes(t *testing.T) {
	for verb, make := range verbs(environment{lookupEnv: os.LookupEnv}) {
		command, err := make()
		if err != nil {
			t.Fatal(err)
		}
		flags := command.(cli.CommandAutocomplete).AutocompleteFlags()
		if n := len(regexp.MustCompile(`(?m)^  -[a-z-]+(=<.*>)?$`).FindAllString(command.Help(), -1)); n != len(flags) {
			t.Errorf("%s: %d flags are completed, and its help has %d", verb, len(flags), n)
		}
		for name := range flags {
			if !strings.Contains(command.Help(), "\n  "+name+"=<") && !strings.Contains(command.Help(), "\n  "+name+"\n") {
				t.Errorf("%s: %s is completed, and not in its help", verb, name)
			}
		}
	}
}

// TestCompletingFor: names are looked up at the gateway that the words before name.
func TestCompletingFor(t *testing.T) {
	c := completing{verb: "explain"}
	for line, want := range map[string]reach{
		"":                     {},
		"-instance east":       {instance: "east"},
		"--instance=east web":  {instance: "east"},
		"-bpf-dir /x -socket":  {dir: "/x"},
		"-format json -watch":  {},
		"-socket /s -instance": {socket: "/s"},
	} {
		if got := c.reach(complete.Args{Completed: strings.Fields(line)}); *got != want {
			t.Errorf("%q: %+v, want %+v", line, *got, want)
		}
	}
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	on := fs.Bool("on", false, "")
	if c.value(fs.Lookup("on")) != complete.PredictNothing || *on {
		t.Error("a value is wanted for a flag that takes none")
	}
}
