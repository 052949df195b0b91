package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"sluice/scripts/consul"
)

const (
	suite = "bookworm"
	tree  = "/vagrant" // where Vagrant puts the checkout
)

// packages are those that a box has and the smallest of all Debians has not.
const packages = "systemd,systemd-sysv,dbus,ca-certificates,sudo"

// box is the root of a system in a directory.
type box struct {
	root   string
	mounts []string // what is mounted below it
}

func (b *box) path(name string) string { return filepath.Join(b.root, name) }

// bootstrap makes the root, from a copy in the cache if there is one.
func (b *box) bootstrap(ctx context.Context) error {
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	base := filepath.Join(cache, "sluice", "box-"+suite+".tar")
	if _, err := os.Stat(base); os.IsNotExist(err) {
		err = makeBase(ctx, base)
		if err != nil {
			return err
		}
	}
	if err := os.MkdirAll(b.root, 0o755); err != nil {
		return err
	}
	return command(ctx, "tar", "--numeric-owner", "-xpf", base, "-C", b.root)
}

func makeBase(ctx context.Context, base string) error {
	if err := os.MkdirAll(filepath.Dir(base), 0o755); err != nil {
		return err
	}
	mirror, err := mirror(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "sluice-debootstrap-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	root := filepath.Join(dir, "root")
	if err := command(ctx, "debootstrap", "--variant=minbase", "--include="+packages, suite, root, mirror); err != nil {
		return err
	}
	part := base + ".part"
	if err := command(ctx, "tar", "--numeric-owner", "-cpf", part, "-C", root, "."); err != nil {
		return err
	}
	return os.Rename(part, base)
}

// mirror is the one of Debian that this machine is set up with.
func mirror(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI)",
		"Created-By: Packages", "Origin: Debian", "Label: Debian").Output()
	uri, _, _ := strings.Cut(string(out), "\n")
	if err == nil && uri == "" {
		err = errors.New("apt knows none")
	}
	if err != nil {
		return "", fmt.Errorf("find a mirror of Debian: %w", err)
	}
	return uri, nil
}

// provision runs the script as Vagrant does. What takes minutes and is not the
// script's doing is lent: Go's caches and a Consul that is there.
func (b *box) provision(ctx context.Context) error {
	if len(b.mounts) == 0 {
		if err := b.lend(ctx); err != nil {
			return err
		}
	}
	return b.run(ctx, path.Join(tree, "scripts/vm/provision.sh"), tree)
}

func (b *box) lend(ctx context.Context) error {
	if err := b.run(ctx, "useradd", "--create-home", "vagrant"); err != nil {
		return err
	}
	if err := b.copyTree(ctx); err != nil {
		return err
	}
	program, err := consul.Binary(ctx, os.Stdout)
	if err != nil {
		return err
	}
	for to, from := range map[string]string{
		"/usr/local/bin/consul": program,
		"/etc/resolv.conf":      "/etc/resolv.conf",
		// Whom this machine trusts: there may be a proxy.
		"/etc/ssl/certs/ca-certificates.crt": "/etc/ssl/certs/ca-certificates.crt",
	} {
		if err := command(ctx, "cp", "--dereference", from, b.path(to)); err != nil {
			return err
		}
	}
	if err := b.mount("proc", "/proc", "proc", 0); err != nil {
		return err
	}
	if err := b.mount("/dev", "/dev", "", unix.MS_BIND); err != nil {
		return err
	}
	for name, to := range map[string]string{"GOMODCACHE": "/root/go/pkg/mod", "GOCACHE": "/root/.cache/go-build"} {
		out, err := exec.CommandContext(ctx, "go", "env", name).Output()
		if err != nil {
			return fmt.Errorf("find Go's caches: %w", err)
		}
		if err := b.mount(strings.TrimSpace(string(out)), to, "", unix.MS_BIND); err != nil {
			return err
		}
	}
	return nil
}

// copyTree copies what git has of the checkout, or would add to it.
func (b *box) copyTree(ctx context.Context) error {
	list := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	out, err := list.Output()
	if err != nil {
		return fmt.Errorf("list the files of the checkout: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		err := copyFile(name, b.path(path.Join(tree, name)))
		if err != nil && !errors.Is(err, os.ErrNotExist) { // of what was removed and not yet from git
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func (b *box) mount(from, to, kind string, flags uintptr) error {
	if err := os.MkdirAll(b.path(to), 0o755); err != nil {
		return err
	}
	if err := unix.Mount(from, b.path(to), kind, flags, ""); err != nil {
		return fmt.Errorf("mount %s on %s: %w", from, b.path(to), err)
	}
	b.mounts = append(b.mounts, b.path(to))
	return nil
}

// close unmounts everything.
func (b *box) close() error {
	for len(b.mounts) > 0 {
		last := b.mounts[len(b.mounts)-1]
		if err := unix.Unmount(last, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", last, err)
		}
		b.mounts = b.mounts[:len(b.mounts)-1]
	}
	return nil
}

// run runs a command in the root, with the environment of a service there.
func (b *box) run(ctx context.Context, name string, args ...string) error {
	return command(ctx, "chroot", append([]string{b.root, "env", "-i", "HOME=/root", "LC_ALL=C.UTF-8",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", name}, args...)...)
}

// command runs a command, and shows what it printed only if it fails.
func command(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// unneeded tells what is left out of the machine, whose root is in its memory:
// compilers and what is for people to read.
func unneeded(name string) bool {
	for _, dir := range []string{
		tree, "/root/go", "/root/.cache", "/usr/lib/go-*", "/usr/share/go-*", "/usr/lib/gcc", "/usr/include", "/usr/lib/llvm-*",
		"/usr/lib/x86_64-linux-gnu/libLLVM*", "/usr/lib/x86_64-linux-gnu/libclang*",
		"/usr/share/doc", "/usr/share/man", "/usr/share/locale", "/usr/share/perl", "/usr/lib/git-core",
		"/usr/lib/x86_64-linux-gnu/*.a", "/var/cache/apt", "/var/lib/apt/lists",
	} {
		if ok, _ := path.Match(dir, name); ok {
			return true
		}
	}
	return false
}
