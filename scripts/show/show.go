// Package show is what the programs that show Sluice at work have in common: text
// for a person at a terminal, the lines of access logs, and waiting.
package show

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Patience is how long Poll waits for what should take no time.
const Patience = 10 * time.Second

// Printer writes for a person at a terminal.
type Printer struct {
	Out  io.Writer
	Hide []string // pairs: what is too long to read, and what stands for it

	steps int
}

// Step begins a numbered part.
func (p *Printer) Step(title string) {
	p.steps++
	fmt.Fprintf(p.Out, "\n%d. %s\n\n", p.steps, title)
}

// Say writes a line.
func (p *Printer) Say(format string, args ...any) {
	fmt.Fprintf(p.Out, format+"\n", args...)
}

// Short puts what stands for them in the place of long words.
func (p *Printer) Short(text string) string {
	return strings.NewReplacer(p.Hide...).Replace(text)
}

// Quote shows what a program or a file says.
func (p *Printer) Quote(text string) {
	for _, line := range strings.Split(strings.TrimRight(p.Short(text), "\n"), "\n") {
		fmt.Fprintf(p.Out, "   | %s\n", line)
	}
}

// Command shows a command and where it is run, broken into lines as a shell would
// take it.
func (p *Printer) Command(where string, args ...string) {
	const width = 96
	line := fmt.Sprintf("   %s$ %s", where, p.Short(args[0]))
	for i := 1; i < len(args); i++ {
		arg := p.Short(args[i])
		if i+1 < len(args) && isFlag(args[i]) && !isFlag(args[i+1]) {
			i++
			arg += " " + p.Short(args[i]) // not to be torn from its value
		}
		if len(line)+1+len(arg) > width {
			fmt.Fprintf(p.Out, "%s \\\n", line)
			line = "      "
		}
		line += " " + arg
	}
	fmt.Fprintln(p.Out, line)
}

func isFlag(arg string) bool { return strings.HasPrefix(arg, "-") }

// ErrPatience says that Poll's condition never came.
var ErrPatience = errors.New("waited in vain")

// Poll asks until it is told true or an error, but no longer than Patience.
func Poll(ctx context.Context, ask func() (bool, error)) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(Patience)
	for {
		if ok, err := ask(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline:
			return ErrPatience
		case <-tick.C:
		}
	}
}
