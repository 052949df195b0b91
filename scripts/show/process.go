package show

import (
	"os/exec"
	"syscall"
)

// Daemon is a command that a terminal's Ctrl-C or hang-up does not reach: the one
// who started it ends it in its own order, or leaves it running.
func Daemon(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}
