package main

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/cli"
)

type manCommand struct {
	env   environment
	verbs func() map[string]cli.CommandFactory
}

func (c *manCommand) Synopsis() string { return "Print the manual page" }

func (c *manCommand) Help() string {
	return `Usage: sluice man

  Prints the manual page, which has the help of all verbs, as man(1) reads it:
  sluice man >/usr/local/share/man/man8/sluice.8`
}

func (c *manCommand) Run(args []string) int {
	if status, ok := parseFlags(flag.NewFlagSet("man", flag.ContinueOnError), args, c.env, 0); !ok {
		return status
	}
	if err := writeManual(c.env.stdout, c.verbs()); err != nil {
		return fail(c.env, "man", err)
	}
	return exitOK
}

// writeManual writes the page in the macros of man(7).
func writeManual(w io.Writer, verbs map[string]cli.CommandFactory) error {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH SLUICE 8 \"\" \"Sluice %s\" \"System Administration\"\n", roff(version))
	b.WriteString(".SH NAME\nsluice \\- a mesh gateway for HashiCorp Consul\n")
	b.WriteString(".SH SYNOPSIS\n.B sluice\n.I verb\n[options]\n")
	b.WriteString(".SH DESCRIPTION\nSluice accepts the mesh's mTLS connections, reads the server name of the ClientHello, sends the\n" +
		"untouched stream to a service instance or to another datacenter's gateway, and lets the kernel move the bytes.\n")
	b.WriteString(".SH VERBS\n")
	for _, name := range slices.Sorted(maps.Keys(verbs)) {
		verb, err := verbs[name]()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, ".SS %s\n%s.\n.PP\n.nf\n", roff(name), roff(verb.Synopsis()))
		for line := range strings.Lines(strings.TrimRight(verb.Help(), "\n") + "\n") {
			b.WriteString(roff(line))
		}
		b.WriteString(".fi\n")
	}
	b.WriteString(".SH EXIT STATUS\n0 for success, 1 for a failure, 2 for wrong usage. Some verbs have more, see there.\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// roff quotes what would mean something to man: backslashes, hyphens of options, and
// dots and quotes at the beginning of a line.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}
