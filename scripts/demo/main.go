// Command demo shows Sluice at work, with nothing faked: two gateways carry the
// mutual TLS of a real client (curl) to a real server (nginx) through a network of
// namespaces, and what they log and count is shown and checked.
//
//	client           dc1                dc2               server
//	curl ----------- gateway ---------- gateway --------- nginx, three instances
//
// It needs root, curl, openssl and nginx, and the sluice binary. It changes nothing
// on the host and leaves nothing behind; with -keep it leaves the lab up and says
// what to try in it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sluice/scripts/lab"
)

// prefix names the demo's labs.
const prefix = "sluice-demo"

func main() {
	// A keen Ctrl-C may come twice: clean up undisturbed.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the command; it returns the exit status: 0, 1 if something is off, and 2
// for wrong usage.
func run(ctx context.Context, args []string, out, errs io.Writer) int {
	fs := flag.NewFlagSet("demo", flag.ContinueOnError)
	fs.SetOutput(errs)
	sluice := fs.String("sluice", "bin/sluice", "Show this `binary`.")
	keep := fs.Bool("keep", os.Getenv("KEEP") == "1", "Leave the lab up, and say what to try. So does KEEP=1 in the environment.")
	down := fs.Bool("down", false, "Only remove the labs that were kept.")
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if fs.NArg() > 0 {
		fmt.Fprintf(errs, "demo: unexpected argument %q\n", fs.Arg(0))
		return 2
	}
	if err := demo(ctx, out, *sluice, *keep, *down); err != nil {
		fmt.Fprintf(errs, "\ndemo: FAILED: %v\n", err)
		return 1
	}
	return 0
}

func demo(ctx context.Context, out io.Writer, sluice string, keep, down bool) error {
	if os.Geteuid() != 0 {
		return errors.New("needs root, to create network namespaces")
	}
	if down {
		removed, err := lab.Down(prefix)
		for _, id := range removed {
			fmt.Fprintln(out, "removed", id)
		}
		if len(removed) == 0 && err == nil {
			fmt.Fprintln(out, "nothing to remove")
		}
		return err
	}
	binary, err := findTools(sluice)
	if err != nil {
		return err
	}
	begun := time.Now()
	s, err := newStage(out, binary)
	if err != nil {
		return err
	}
	err = s.play(ctx)
	if err == nil && !keep {
		err = s.end()
	}
	if ctx.Err() != nil {
		return errors.Join(errors.New("interrupted"), s.close())
	}
	if err != nil {
		s.tellLogs()
	}
	if keep {
		return errors.Join(err, s.leave())
	}
	if err := errors.Join(err, s.close()); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nDone in %.1f s. Namespaces, processes and files of the demo are gone.\n", time.Since(begun).Seconds())
	fmt.Fprintln(out, "To leave it up and try things in it: make demo KEEP=1")
	return nil
}

// findTools returns the absolute path of the sluice binary, or an error that names
// all that is missing.
func findTools(sluice string) (string, error) {
	// nginx is an administrator's tool to Debian, and not on the path of a root that
	// came by su.
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	var missing []string
	for _, tool := range []string{"curl", "openssl", "nginx"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, tool)
		}
	}
	if len(missing) > 0 {
		return "", fmt.Errorf("not installed: %s (on Debian: apt-get install %[1]s)", strings.Join(missing, " "))
	}
	path, err := filepath.Abs(sluice)
	if err != nil {
		return "", err
	}
	if _, err := exec.LookPath(path); err != nil {
		return "", fmt.Errorf("no sluice binary (make build makes it): %w", err)
	}
	return path, nil
}
