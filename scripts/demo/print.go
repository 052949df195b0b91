package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// print writes for a person at a terminal.
type print struct {
	out   io.Writer
	hide  []string // pairs: what is too long to read, and what stands for it
	steps int
}

// step begins a numbered part.
func (p *print) step(title string) {
	p.steps++
	fmt.Fprintf(p.out, "\n%d. %s\n\n", p.steps, title)
}

func (p *print) say(format string, args ...any) {
	fmt.Fprintf(p.out, format+"\n", args...)
}

// short puts what stands for them in the place of long words.
func (p *print) short(text string) string {
	return strings.NewReplacer(p.hide...).Replace(text)
}

// quote shows what a program or a file says.
func (p *print) quote(text string) {
	for _, line := range strings.Split(strings.TrimRight(p.short(text), "\n"), "\n") {
		fmt.Fprintf(p.out, "   | %s\n", line)
	}
}

// command shows a command and where it is run, broken into lines as a shell would
// take it.
func (p *print) command(where string, args ...string) {
	const width = 96
	line := fmt.Sprintf("   %s$ %s", where, p.short(args[0]))
	for i := 1; i < len(args); i++ {
		arg := p.short(args[i])
		if i+1 < len(args) && isFlag(args[i]) && !isFlag(args[i+1]) {
			i++
			arg += " " + p.short(args[i]) // not to be torn from its value
		}
		if len(line)+1+len(arg) > width {
			fmt.Fprintf(p.out, "%s \\\n", line)
			line = "      "
		}
		line += " " + arg
	}
	fmt.Fprintln(p.out, line)
}

func isFlag(arg string) bool { return strings.HasPrefix(arg, "-") }

// errPatience says that poll's condition never came.
var errPatience = errors.New("waited in vain")

// poll asks until it is told true or an error, but no longer than patience.
func poll(ctx context.Context, ask func() (bool, error)) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		if ok, err := ask(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline:
			return errPatience
		case <-tick.C:
		}
	}
}
