package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Release is a kernel that tests run on.
type Release struct {
	Name   string   // such as "6.1"
	Suites []string // of Debian, that have it
}

// Releases are the kernels of Debian's stable releases that Sluice supports.
var Releases = []Release{
	{"6.1", []string{"bookworm", "bookworm-security"}},
	{"6.12", []string{"trixie", "trixie-security"}},
}

// metapackage depends on the package of the suite's current kernel. The cloud
// kernels are small, and have all that servers have.
const metapackage = "linux-image-cloud-amd64"

// fresh is how long a kernel is used before a newer one is looked for.
const fresh = 14 * 24 * time.Hour

// Kernel is a kernel on this machine's disk.
type Kernel struct {
	Release string
	Version string // such as "6.1.0-56-cloud-amd64"
	Image   string // path of what qemu boots
	modules string // directory below which its modules are
}

// CacheDir is where kernels are kept.
func CacheDir() (string, error) {
	dir, err := os.UserCacheDir() // XDG_CACHE_HOME, or ~/.cache
	if err != nil {
		return "", fmt.Errorf("find the cache for kernels: %w", err)
	}
	return filepath.Join(dir, "sluice", "kernels"), nil
}

// Fetch returns the newest kernel of a release, from the cache if one was fetched in
// the last two weeks. An older one still serves when there can be no other. It says
// on progress what it does that takes time.
func Fetch(ctx context.Context, cache string, r Release, progress io.Writer) (*Kernel, error) {
	dir := filepath.Join(cache, r.Name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	unlock, err := lock(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	old, age, err := cached(dir, r)
	if err == nil && age < fresh {
		return old, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	fmt.Fprintf(progress, "kernel %s: fetching\n", r.Name)
	k, err := fetch(ctx, dir, r)
	switch {
	case err == nil:
		fmt.Fprintf(progress, "kernel %s: %s\n", r.Name, k.Version)
		return k, nil
	case old != nil:
		fmt.Fprintf(progress, "kernel %s: staying with %s: %v\n", r.Name, old.Version, err)
		return old, nil
	}
	return nil, fmt.Errorf("fetch kernel %s: %w", r.Name, err)
}

// lock keeps other processes from fetching the same; it waits for one that does.
func lock(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { f.Close() }, nil
}

// current is the directory of the kernel in use. It appears when it is whole.
const current = "current"

// cached is the kernel in a directory and for how long it has been there.
func cached(dir string, r Release) (*Kernel, time.Duration, error) {
	tree := filepath.Join(dir, current)
	info, err := os.Stat(tree)
	if err != nil {
		return nil, 0, err
	}
	k, err := find(tree, r)
	return k, time.Since(info.ModTime()), err
}

// fetch puts the newest kernel of a release into the directory.
func fetch(ctx context.Context, dir string, r Release) (*Kernel, error) {
	work, err := os.MkdirTemp(dir, "fetch-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	a, err := newApt(ctx, work, r.Suites)
	if err != nil {
		return nil, err
	}
	if err := a.update(ctx); err != nil {
		return nil, err
	}
	name, err := a.dependency(ctx, metapackage)
	if err != nil {
		return nil, err
	}
	deb, err := a.download(ctx, name)
	if err != nil {
		return nil, err
	}
	tree := filepath.Join(work, "tree")
	if _, err := output(exec.CommandContext(ctx, "dpkg-deb", "-x", deb, tree)); err != nil {
		return nil, err
	}
	if _, err := find(tree, r); err != nil {
		return nil, fmt.Errorf("in package %s: %w", name, err)
	}
	now := time.Now() // the package has its own date
	if err := os.Chtimes(tree, now, now); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(filepath.Join(dir, current)); err != nil {
		return nil, err
	}
	if err := os.Rename(tree, filepath.Join(dir, current)); err != nil {
		return nil, err
	}
	return find(filepath.Join(dir, current), r)
}

// find looks for a kernel in the files of its package.
func find(tree string, r Release) (*Kernel, error) {
	images, err := filepath.Glob(filepath.Join(tree, "boot", "vmlinuz-*"))
	if err != nil {
		return nil, err
	}
	if len(images) != 1 {
		return nil, fmt.Errorf("want one kernel in %s, have %q", tree, images)
	}
	k := &Kernel{Release: r.Name, Image: images[0]}
	k.Version = strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	if !strings.HasPrefix(k.Version, r.Name+".") {
		return nil, fmt.Errorf("want a kernel %s, have %s", r.Name, k.Version)
	}
	for _, lib := range []string{"usr/lib", "lib"} { // from Debian 13 on, before
		k.modules = filepath.Join(tree, lib, "modules", k.Version)
		if _, err = os.Stat(k.modules); err == nil {
			return k, nil
		}
	}
	return nil, fmt.Errorf("find the modules of %s: %w", k.Version, err)
}
