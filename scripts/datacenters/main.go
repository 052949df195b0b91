// Command datacenters shows Sluice as the mesh gateway of two datacenters, each
// with a real Consul, with nothing faked: the gateways register, with tokens that
// allow no more than they need, and route by what Consul tells them; a client with
// a leaf certificate of the mesh calls a service that is behind a real sidecar.
//
//	         dc1                                    dc2
//	client -- consul1 -- gateway1 ----- gateway2 -- consul2 -- server
//	openssl   agent      sluice         sluice      agent      nginx behind
//	                                                           consul connect proxy
//
// Each of these is a network namespace. It checks what it shows, and its exit status
// is 1 when something is not as it should be. It needs root, openssl, curl and
// nginx, the sluice binary, and a Consul, which it builds if there is none (package
// scripts/consul). It changes nothing on the host and leaves nothing behind; with
// -keep it leaves the lab up and says what to try in it.
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

	"sluice/scripts/consul"
	"sluice/scripts/lab"
)

func main() {
	// A keen Ctrl-C may come twice: clean up undisturbed.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the command; it returns the exit status: 0, 1 if something is off, and 2
// for wrong usage.
func run(ctx context.Context, args []string, out, errs io.Writer) int {
	fs := flag.NewFlagSet("datacenters", flag.ContinueOnError)
	fs.SetOutput(errs)
	sluice := fs.String("sluice", "bin/sluice", "Show this `binary`.")
	name := fs.String("name", "sluice-lab", "Begin the names of the namespaces with this `name`, and remove only such labs.")
	keep := fs.Bool("keep", os.Getenv("KEEP") == "1", "Leave the lab up, and say what to try. So does KEEP=1 in the environment.")
	down := fs.Bool("down", false, "Only remove the labs that were kept.")
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if fs.NArg() > 0 {
		fmt.Fprintf(errs, "datacenters: unexpected argument %q\n", fs.Arg(0))
		return 2
	}
	err := errors.New("needs root, to create network namespaces")
	switch {
	case os.Geteuid() != 0:
	case *down:
		err = remove(out, *name)
	default:
		err = present(ctx, out, errs, *sluice, *name, *keep)
	}
	if err != nil {
		fmt.Fprintf(errs, "\nlab: FAILED: %v\n", err)
		return 1
	}
	return 0
}

func remove(out io.Writer, name string) error {
	removed, err := lab.Down(name)
	for _, id := range removed {
		fmt.Fprintln(out, "removed", id)
	}
	if len(removed) == 0 && err == nil {
		fmt.Fprintln(out, "nothing to remove")
	}
	return err
}

func present(ctx context.Context, out, errs io.Writer, sluice, name string, keep bool) error {
	sluice, err := findTools(sluice)
	if err != nil {
		return err
	}
	binary, err := consul.Binary(ctx, errs)
	if err != nil {
		return err
	}
	begun := time.Now()
	s, err := newSite(out, name, sluice, binary, keep)
	if err != nil {
		return err
	}
	err = s.play(ctx)
	if err == nil && !keep {
		err = s.leaveMesh(ctx)
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
	fmt.Fprintf(out, "\nDone in %.1f s. Namespaces, processes and files of the lab are gone.\n", time.Since(begun).Seconds())
	fmt.Fprintln(out, "To leave it up and try things in it: make lab KEEP=1")
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
