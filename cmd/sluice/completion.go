package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
)

type completionCommand struct{ env environment }

// shells have a script each, by which they ask this program what completes a line: it is
// called with the line in COMP_LINE.
var shells = map[string]string{
	"bash": "complete -o nospace -C sluice sluice\n",
	"zsh": `whence compdef >/dev/null || { autoload -U compinit && compinit }
autoload -U +X bashcompinit && bashcompinit
complete -o nospace -C sluice sluice
`,
	"fish": `function __sluice_complete
    set -lx COMP_LINE (commandline -cp)
    test -z (commandline -ct); and set COMP_LINE "$COMP_LINE "
    sluice
end
complete -f -c sluice -a "(__sluice_complete)"
`,
}

func (c *completionCommand) Synopsis() string {
	return "Print what has a shell complete verbs, flags and names"
}

func (c *completionCommand) Help() string {
	return `Usage: sluice completion bash|zsh|fish

  Prints a script for the shell, which then completes verbs, flags, their values, and the
  names of gateways and routes. For all users, as root, or in one's own start-up file:

  sluice completion bash >/etc/bash_completion.d/sluice    # or >>~/.bashrc
  sluice completion zsh  >>~/.zshrc
  sluice completion fish >/etc/fish/completions/sluice.fish    # or ~/.config/fish/...`
}

func (c *completionCommand) Run(args []string) int {
	fs := flag.NewFlagSet("completion", flag.ContinueOnError)
	if status, ok := parseFlags(fs, args, c.env, 1); !ok {
		return status
	}
	script, ok := shells[fs.Arg(0)]
	if !ok {
		err := fmt.Errorf("no shell %q: want bash, zsh or fish", fs.Arg(0))
		if fs.NArg() == 0 {
			err = errors.New("for which shell? give bash, zsh or fish")
		}
		fail(c.env, "completion", err)
		return exitUsage
	}
	if _, err := io.WriteString(c.env.stdout, script); err != nil {
		return fail(c.env, "completion", err)
	}
	return exitOK
}
