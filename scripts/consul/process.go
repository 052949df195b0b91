package consul

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"sluice/scripts/lab"
)

// tailLines is how much of a log a failure shows.
const tailLines = 25

// process is a child that writes a log. It dies with this process, however that
// ends, unless it is to outlive it.
type process struct {
	name  string
	log   string // path; appended to, so it outlives a restart
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has
	err   error         // of its end, valid then
}

// spawn starts the command in the namespace, with its output going to the log.
func spawn(ns *lab.Namespace, name, log string, cmd *exec.Cmd, outlive bool) (*process, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	// A terminal's Ctrl-C is for the parent, which ends its children in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if outlive {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	}

	p := &process{name: name, log: log, cmd: cmd, ended: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		p.err = child(ns, cmd, started)
		close(p.ended)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// child starts the command in the namespace and waits for its end, both on one
// thread: the kernel sends the death signal when the parent's thread ends, not its
// process. If started is not nil it is told how the start went.
func child(ns *lab.Namespace, cmd *exec.Cmd, started chan<- error) error {
	run := func() error {
		err := cmd.Start()
		if started != nil {
			started <- err
		}
		if err != nil {
			return err
		}
		return cmd.Wait()
	}
	if ns == nil {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		return run()
	}
	err := ns.Do(run)
	if started != nil {
		select {
		case started <- err: // if Do could not enter the namespace; nobody reads it otherwise
		default:
		}
	}
	return err
}

// dead returns nil while the process runs, and then how it ended.
func (p *process) dead() error {
	select {
	case <-p.ended:
	default:
		return nil
	}
	if p.err == nil {
		return fmt.Errorf("%s ended", p.name)
	}
	return fmt.Errorf("%s ended: %w", p.name, p.err)
}

// kill ends the process at once, as a power failure would, and waits until it is
// gone. One that has ended is no error.
func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(Patience):
		return fmt.Errorf("kill %s: still there after %v", p.name, Patience)
	}
}

// tail is the end of the log, each line indented.
func (p *process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return fmt.Sprintf("\t(no log: %v)", err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return "\t" + strings.Join(lines[max(0, len(lines)-tailLines):], "\n\t")
}
