// Command guest is the init of a virtual machine of scripts/vm: it sets the machine
// up as tests expect one, does its job, tells how that went, and switches off.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sluice/scripts/vm/job"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "guest: is the init of a virtual machine, and does nothing elsewhere")
		os.Exit(1)
	}
	// Nothing may end the first process but the end of the machine: the kernel
	// would panic.
	err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err) // in case there is no other output
	}
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Fprintln(os.Stderr, "guest: power off:", err)
	}
}

func run() error {
	if err := mountAll(); err != nil {
		return err
	}
	out, err := openOutput(job.Output)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := work(out); err != nil {
		return tell(out, job.Event{Kind: job.Problem, Text: err.Error()})
	}
	return tell(out, job.Event{Kind: job.Done})
}

// openFiles is the limit of open files: the kernel's own is for a desktop.
const openFiles = 1 << 20

func work(out *os.File) error {
	j, err := job.Load(job.File)
	if err != nil {
		return err
	}
	for _, path := range j.Modules {
		if err := loadModule(path); err != nil {
			return err
		}
	}
	if err := loopbackUp(); err != nil {
		return err
	}
	limit := syscall.Rlimit{Cur: openFiles, Max: openFiles}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("raise the limit of open files: %w", err)
	}
	if err := tell(out, job.Event{Kind: job.Up}); err != nil {
		return err
	}
	for _, p := range j.Programs {
		if err := tell(out, job.Event{Kind: job.Begin, Name: p.Name}); err != nil {
			return err
		}
		status, err := runProgram(p, out)
		if err != nil {
			return fmt.Errorf("run %s: %w", p.Name, err)
		}
		if err := tell(out, job.Event{Kind: job.End, Name: p.Name, Status: status}); err != nil {
			return err
		}
	}
	return nil
}

func tell(out io.Writer, e job.Event) error {
	_, err := io.WriteString(out, e.Line())
	return err
}

// openOutput opens a serial line and has it pass on what is written as it is.
func openOutput(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	mode, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err == nil {
		mode.Oflag &^= unix.OPOST
		err = unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, mode)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("set up %s: %w", path, err)
	}
	return f, nil
}

// loadModule loads a kernel module, its dependencies having been loaded.
func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load module %s: %w", path, err)
	}
	return nil
}

func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}
