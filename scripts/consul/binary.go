package consul

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Version is the Consul that tests/consul/go.mod names, and so the one that is
// built. One that is installed may be another.
const Version = "1.22.2"

// tell is how often a build says that it is still at work.
const tell = 5 * time.Second

// Binary returns the path of the consul program: the one that CONSUL_BIN names,
// else the one on PATH, else the one in the cache. If that is empty it builds it
// there, from tests/consul, which takes about 10 minutes of two cores the first
// time; progress says how far it is. Of several processes that need it, one builds
// and the others wait.
func Binary(ctx context.Context, progress io.Writer) (string, error) {
	path, err := Find()
	if !errors.Is(err, fs.ErrNotExist) || os.Getenv("CONSUL_BIN") != "" {
		return path, err
	}
	if path, err = cached(); err != nil {
		return "", err
	}
	if err := buildOnce(ctx, progress, path, compile); err != nil {
		return "", fmt.Errorf("build consul %s: %w", Version, err)
	}
	return path, nil
}

// Find is Binary without the building: its error is fs.ErrNotExist if there is no
// consul yet.
func Find() (string, error) {
	if path := os.Getenv("CONSUL_BIN"); path != "" {
		path, err := exec.LookPath(path)
		if err != nil {
			return "", fmt.Errorf("CONSUL_BIN: %w", err)
		}
		return filepath.Abs(path)
	}
	if path, err := exec.LookPath("consul"); err == nil {
		return filepath.Abs(path)
	}
	path, err := cached()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("no consul in CONSUL_BIN, on PATH or in the cache: %w", err)
	}
	return path, nil
}

// cached is where the program is, once it was built.
func cached() (string, error) {
	dir, err := os.UserCacheDir() // XDG_CACHE_HOME, or ~/.cache
	if err != nil {
		return "", fmt.Errorf("find the cache for consul: %w", err)
	}
	return filepath.Join(dir, "sluice", "consul-"+Version), nil
}

// buildOnce has the file at path made by build, unless it is there or another
// process makes it meanwhile. It appears under its name only when it is whole.
func buildOnce(ctx context.Context, progress io.Writer, path string, build func(context.Context, io.Writer, string) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	unlock, err := lock(ctx, progress, path+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	part := path + ".part" // one that was left by a builder that died is written over
	if err := build(ctx, progress, part); err != nil {
		return err
	}
	return os.Rename(part, path)
}

// lock takes the lock on the file at path. It ends with the process at the latest.
func lock(ctx context.Context, progress io.Writer, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for begun, told := time.Now(), time.Now(); ; {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if time.Since(told) >= tell {
			told = time.Now()
			fmt.Fprintf(progress, "consul %s: another process is building it; waited %v for it\n", Version, time.Since(begun).Round(time.Second))
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for another process's build: %w", context.Cause(ctx))
		case <-poll.C:
		}
	}
}

// compile builds consul to the file named, behind everything else that wants to
// run.
func compile(ctx context.Context, progress io.Writer, to string) error {
	tree, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "sluice").Output()
	if err != nil {
		return fmt.Errorf("find the source tree with go list, which must run inside of it: %w", stderr(err))
	}
	cmd := exec.CommandContext(ctx, "nice", "-n", "10", "go", "build", "-v", "-trimpath",
		"-ldflags", "-s -w", "-o", to, "github.com/hashicorp/consul")
	cmd.Dir = filepath.Join(string(bytes.TrimSpace(tree)), "tests", "consul")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	// The compilers are children of their own: end all of them.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second

	var compiled packages
	cmd.Stderr = &compiled
	fmt.Fprintf(progress, "consul %s: none on PATH, building it once; about 10 minutes on two cores\n", Version)
	begun := time.Now()
	err = await(cmd, func() {
		fmt.Fprintf(progress, "consul %s: building for %v, %d packages compiled\n",
			Version, time.Since(begun).Round(time.Second), compiled.n.Load())
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("go build in %s: %w\n%s", cmd.Dir, err, compiled.last)
	}
	fmt.Fprintf(progress, "consul %s: built in %v\n", Version, time.Since(begun).Round(time.Second))
	return nil
}

// await runs the command, and calls tick now and then until it ends.
func await(cmd *exec.Cmd, tick func()) error {
	ended := make(chan error, 1)
	go func() { ended <- child(nil, cmd, nil) }()
	ticker := time.NewTicker(tell)
	defer ticker.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-ticker.C:
			tick()
		}
	}
}

// packages counts the lines of "go build -v", one for each package, and keeps the
// last of them, which tell what failed.
type packages struct {
	n    atomic.Int64
	last []byte
}

func (p *packages) Write(b []byte) (int, error) {
	p.n.Add(int64(bytes.Count(b, []byte("\n"))))
	p.last = append(p.last, b...)
	p.last = p.last[max(0, len(p.last)-4096):]
	return len(b), nil
}

// stderr adds to a command's error what it wrote.
func stderr(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
	}
	return err
}
