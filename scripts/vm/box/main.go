// Command box tests scripts/vm/provision.sh where the boxes of Vagrant cannot be
// had: "make test-provision".
//
// It has debootstrap make a Debian, which is kept in the user's cache, runs the
// script in a copy of that, has systemd verify the units and judge how exposed they
// leave the host, and then boots the copy on Debian's own kernel, emulated, with
// systemd as its init: check.sh tells, from in there, whether the services run with
// the rights that they have.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"sluice/scripts/vm"
	"sluice/scripts/vm/job"
)

// release is the kernel of the Debian that is tested.
const release = "6.1"

// exposed is the most that systemd-analyze security may say of sluice.service, in
// tenths: 100 is a service without any bounds.
const exposed = "22"

//go:embed check.sh
var check string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "box:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	fs := flag.NewFlagSet("box", flag.ExitOnError)
	timeout := fs.Duration("timeout", 30*time.Minute, "Give up after this `duration`.")
	keep := fs.Bool("keep", false, "Leave the root that was provisioned, and say where.")
	only := fs.String("boot", "", "Do nothing but boot this `root`, left by -keep.")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("needs root, to change into the root of another system")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, *timeout, fmt.Errorf("not done in %v", *timeout))
	defer cancel()
	if *only != "" {
		return (&box{root: *only}).boot(ctx)
	}

	dir, err := os.MkdirTemp("", "sluice-box-")
	if err != nil {
		return err
	}
	b := &box{root: filepath.Join(dir, "root")}
	defer func() {
		err = errors.Join(err, b.close())
		if *keep {
			fmt.Println("left:", b.root)
		} else if len(b.mounts) == 0 { // never remove what is mounted there
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	for _, s := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"a Debian", b.bootstrap},
		{"provision.sh", b.provision},
		{"provision.sh again", b.provision},
		{"what systemd says of the units", b.verify},
		{"boot", b.boot},
	} {
		begun := time.Now()
		fmt.Printf("==> %s\n", s.name)
		if err := s.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		fmt.Printf("==> %s: well, in %v\n", s.name, time.Since(begun).Round(time.Second))
	}
	return nil
}

// verify asks systemd about the units.
func (b *box) verify(ctx context.Context) error {
	if err := b.run(ctx, "systemd-analyze", "verify", "--man=no",
		"/etc/systemd/system/sluice.service", "/etc/systemd/system/consul.service"); err != nil {
		return err
	}
	return b.run(ctx, "systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold="+exposed,
		"/etc/systemd/system/sluice.service")
}

// boot runs the system in a machine, and check.sh in that.
func (b *box) boot(ctx context.Context) error {
	if err := b.close(); err != nil { // nothing that is mounted there is part of it
		return err
	}
	cache, err := vm.CacheDir()
	if err != nil {
		return err
	}
	for _, r := range vm.Releases {
		if r.Name != release {
			continue
		}
		k, err := vm.Fetch(ctx, cache, r, os.Stdout)
		if err != nil {
			return err
		}
		return b.bootOn(ctx, k)
	}
	return fmt.Errorf("no kernel %s is known", release)
}

func (b *box) bootOn(ctx context.Context, k *vm.Kernel) error {
	const name = "check"
	// The root is in memory: all of it, twice while the kernel unpacks it.
	m := &vm.Machine{Kernel: k, CPUs: 2, MemoryMiB: 6144, Parameters: "systemd.show_status=false", Line: func(_, text string) { fmt.Println("   |", text) }}
	run, err := m.Run(ctx, vm.Tree{
		Dir:  b.root,
		Init: "/lib/systemd/systemd",
		Skip: unneeded,
		Extra: map[string]string{
			"/box/check":                      check,
			"/box/begin":                      job.Event{Kind: job.Up}.Line() + job.Event{Kind: job.Begin, Name: name}.Line(),
			"/box/good":                       job.Event{Kind: job.End, Name: name}.Line() + job.Event{Kind: job.Done}.Line(),
			"/box/bad":                        job.Event{Kind: job.End, Name: name, Status: 1}.Line() + job.Event{Kind: job.Done}.Line(),
			"/etc/hosts":                      "127.0.0.1 localhost\n::1 localhost\n",
			"/etc/systemd/system/box.service": unit,
			"/etc/systemd/system/default.target.d/x.conf": "[Unit]\nWants=box.service\n",
		},
	})
	if err != nil {
		return err
	}
	for _, trouble := range run.Troubles {
		err = errors.Join(err, fmt.Errorf("the kernel complained:\n%s", trouble))
	}
	if run.Programs[0].Status != 0 {
		err = errors.Join(err, errors.New("the check failed"))
	}
	return err
}

// unit runs the check, which awaits what it needs, and then switches off.
const unit = `[Unit]
Description=The check of the box
After=basic.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'cat /box/begin; if /box/check 2>&1; then cat /box/good; else cat /box/bad; fi'
ExecStartPost=systemctl --no-block poweroff
StandardOutput=file:` + job.Output + `
TimeoutStartSec=infinity
`
