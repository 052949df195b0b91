// Command sluice is a mesh gateway for HashiCorp Consul. "sluice -help" lists
// its verbs; there is a file for each one here.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/hashicorp/cli"
)

// version is set by the linker.
var version = "unknown"

// Exit statuses.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

func main() {
	os.Exit(run(os.Args[1:], environment{os.Stdout, os.Stderr, os.LookupEnv}))
}

// environment is what a verb sees of the world, so that tests can give another.
type environment struct {
	stdout, stderr io.Writer
	lookupEnv      func(string) (string, bool)
}

func run(args []string, env environment) int {
	app := &cli.CLI{
		Name:         "sluice",
		Version:      version,
		Args:         args,
		Autocomplete: true,
		HelpFunc:     cli.BasicHelpFunc("sluice"),
		HelpWriter:   env.stdout,
		ErrorWriter:  env.stderr,
		Commands:     verbs(env),
	}
	status, err := app.Run()
	if err != nil {
		fmt.Fprintf(env.stderr, "sluice: %v\n", err)
		return exitError
	}
	if status == unknownVerb || status == cli.RunResultHelp {
		return exitUsage
	}
	return status
}

// verbs are all there are, with completion for shells.
func verbs(env environment) map[string]cli.CommandFactory {
	all := commands(env)
	for verb, make := range all {
		all[verb] = func() (cli.Command, error) {
			command, err := make()
			return completing{command, env, verb}, err
		}
	}
	return all
}

func commands(env environment) map[string]cli.CommandFactory {
	return map[string]cli.CommandFactory{
		"check":      func() (cli.Command, error) { return &checkCommand{env: env}, nil },
		"completion": func() (cli.Command, error) { return &completionCommand{env: env}, nil },
		"drain":      func() (cli.Command, error) { return &drainCommand{env: env}, nil },
		"explain":    func() (cli.Command, error) { return &explainCommand{env: env, open: openMaps}, nil },
		"flows":      func() (cli.Command, error) { return &flowsCommand{env: env}, nil },
		"gateway":    func() (cli.Command, error) { return &gatewayCommand{env: env}, nil },
		"kill":       func() (cli.Command, error) { return &killCommand{env: env}, nil },
		"man": func() (cli.Command, error) {
			return &manCommand{env, func() map[string]cli.CommandFactory { return commands(env) }}, nil
		},
		"maps":     func() (cli.Command, error) { return &mapsCommand{env: env}, nil },
		"modes":    func() (cli.Command, error) { return &modesCommand{env: env}, nil },
		"policy":   func() (cli.Command, error) { return &policyCommand{env: env}, nil },
		"reload":   func() (cli.Command, error) { return &reloadCommand{env: env}, nil },
		"routes":   func() (cli.Command, error) { return &routesCommand{env: env, open: openMaps}, nil },
		"status":   func() (cli.Command, error) { return &statusCommand{env: env}, nil },
		"top":      func() (cli.Command, error) { return &topCommand{env: env}, nil },
		"unload":   func() (cli.Command, error) { return &unloadCommand{env: env}, nil },
		"validate": func() (cli.Command, error) { return &validateCommand{env: env}, nil },
		"version":  func() (cli.Command, error) { return &versionCommand{env: env}, nil },
	}
}

// unknownVerb is the status that package cli has for one.
const unknownVerb = 127

// parseFlags reads a verb's command line. When ok is false, the verb is to exit
// with status: it was asked for help, or wrongly.
func parseFlags(fs *flag.FlagSet, args []string, env environment, maxArgs int) (status int, ok bool) {
	fs.Init(fs.Name(), flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	names, err := parseMixed(fs, args)
	if err == nil && len(names) > maxArgs {
		err = fmt.Errorf("unexpected argument %q", names[maxArgs])
	}
	switch {
	case err == nil:
		return exitOK, true
	case errors.Is(err, flag.ErrHelp):
		return cli.RunResultHelp, false
	}
	fmt.Fprintf(env.stderr, "sluice %s: %v (see sluice %s -help)\n", fs.Name(), err, fs.Name())
	return exitUsage, false
}

// parseMixed takes flags after names too: "sluice explain NAME -format=json". Names are
// fs.Args then, as usual; after "--" everything is a name.
func parseMixed(fs *flag.FlagSet, args []string) (names []string, err error) {
	for {
		if err := fs.Parse(args); err != nil {
			return nil, err
		}
		rest := fs.Args()
		literal := len(rest) < len(args) && args[len(args)-len(rest)-1] == "--"
		if len(rest) == 0 || literal {
			names = append(names, rest...)
			break
		}
		if before := len(args) - len(rest) - 1; before < 0 || !takesInterval(fs, args[before], rest[0]) {
			names = append(names, rest[0])
		}
		args = rest[1:]
	}
	return names, fs.Parse(append([]string{"--"}, names...))
}

// fail reports an error, a line for each when it is several.
func fail(env environment, verb string, err error) int {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(env.stderr, "sluice %s: %s\n", verb, strings.TrimSuffix(line, "\n"))
	}
	return exitError
}

// flagHelp is the help of a verb: its story and then its flags.
func flagHelp(story string, fs *flag.FlagSet) string {
	var b strings.Builder
	b.WriteString(strings.TrimSpace(story))
	b.WriteString("\n\nOptions:\n")
	fs.VisitAll(func(f *flag.Flag) {
		value, usage := flag.UnquoteUsage(f)
		fmt.Fprintf(&b, "\n  -%s", f.Name)
		if value != "" {
			fmt.Fprintf(&b, "=<%s>", value)
		}
		fmt.Fprintf(&b, "\n     %s", usage)
		if d := f.DefValue; d != "" && d != "0" && d != "0s" && d != "false" {
			fmt.Fprintf(&b, " Default: %s.", d)
		}
		b.WriteByte('\n')
	})
	return b.String()
}
