package sockmap

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sluice/loader"
	"sluice/userspace/sockmap"
)

// childRoot names the environment variable by which this program, started anew, is
// told to be an agent, and where to pin.
const childRoot = "SLUICE_TEST_CHILD_ROOT"

// child loads the program, tests it, says so, and waits.
func child(root string) error {
	d, err := loader.Load(loader.Options{Root: root, Instance: "child", Flows: 64})
	if err != nil {
		return err
	}
	e, err := sockmap.New(d, sockmap.Config{})
	if err != nil {
		return err
	}
	if err := e.SelfTest(0); err != nil {
		return err
	}
	if err := loader.Missing(loader.Probe(root)); err != nil {
		return err
	}
	caps, err := capabilities()
	if err != nil {
		return err
	}
	fmt.Println("ready", caps)
	_, _ = io.Copy(io.Discard, os.Stdin)
	return d.Close()
}

// capabilities are those in force, as the system writes them.
func capabilities() (string, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(string(status), "CapEff:")
	caps, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(caps), nil
}

// agent is a child that is ready.
type agent struct {
	cmd   *exec.Cmd
	stdin io.Closer
	caps  string
}

// startAgent starts a child; keep lists the capabilities that it may have, nil for
// all.
func startAgent(t *testing.T, root string, keep []uintptr) *agent {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childRoot+"="+root)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan error)
	go func() {
		// The limit is the thread's, and its children's. The thread ends with the
		// goroutine.
		runtime.LockOSThread()
		if keep != nil {
			if err := limit(keep); err != nil {
				started <- err
				return
			}
		}
		started <- cmd.Start()
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	a := &agent{cmd: cmd, stdin: stdin}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if _, err2 := fmt.Sscanf(line, "ready %s", &a.caps); err != nil || err2 != nil {
		t.Fatalf("the child says %q, %v", line, err)
	}
	return a
}

// limit takes all other capabilities away from what this thread starts.
func limit(keep []uintptr) error {
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		kept := false
		for _, k := range keep {
			kept = kept || c == k
		}
		if kept {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && err != unix.EINVAL {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	return nil
}

// stop ends the child in order.
func (a *agent) stop(t *testing.T) {
	t.Helper()
	a.stdin.Close()
	if err := a.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func (a *agent) kill(t *testing.T) {
	t.Helper()
	if err := a.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = a.cmd.Wait()
}

// childDir is where an instance of children may pin.
func childDir(t *testing.T) string {
	t.Helper()
	load(t, commonFlows) // for the file system
	return filepath.Join(common.dir, "children")
}

// TestCapabilities runs an agent with the three capabilities that it needs, and no
// other.
func TestCapabilities(t *testing.T) {
	root := childDir(t)
	a := startAgent(t, root, []uintptr{unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_PERFMON})
	want := uint64(1)<<unix.CAP_BPF | 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_PERFMON
	if a.caps != fmt.Sprintf("%016x", want) {
		t.Errorf("the child has capabilities %s, not %016x", a.caps, want)
	}
	a.stop(t)
	if err := loader.Unload(root, "child"); err != nil {
		t.Error(err)
	}
}

// TestKilled kills an agent and starts it again, next to one that lives: nothing of
// the dead one is in the way, or left.
func TestKilled(t *testing.T) {
	root := childDir(t)
	first := startAgent(t, root, nil)
	second := startAgent(t, root, nil)
	first.kill(t)
	third := startAgent(t, root, nil)
	all, err := loader.List(root)
	if err != nil || len(all) != 2 || !all[0].Alive || !all[1].Alive {
		t.Errorf("generations: %+v, %v", all, err)
	}
	second.stop(t)
	third.kill(t)
	if err := loader.Unload(root, "child"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(root); !os.IsNotExist(err) {
		t.Errorf("something is left: %v", err)
	}
}
