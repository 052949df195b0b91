package vm

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sluice/scripts/vm/job"
)

// Machine is a virtual machine that can be run any number of times.
type Machine struct {
	Kernel    *Kernel
	CPUs      int
	MemoryMiB int

	Parameters string // of the kernel, more of them

	// Line, if set, is told of every line that the programs print, as it comes.
	Line func(program, text string)
}

// Run is how the work of a machine went.
type Run struct {
	Programs []Ended
	Boot     time.Duration // until the first program started
	Took     time.Duration // all in all
	Troubles []string      // what the kernel complained about, each with its lines
}

// Ended is a program that has run to its end.
type Ended struct {
	Name   string
	Status int
	Took   time.Duration
}

// parameters are those of the kernel. Without mitigations of the processor's faults
// an emulated one, which has none, is faster. A machine that is starved by its host
// is no lock-up. A panic ends the machine at once, as qemu has -no-reboot, and so
// does an oops.
const parameters = "console=ttyS0 loglevel=5 printk.time=1 mitigations=off " +
	"nosoftlockup rcupdate.rcu_cpu_stall_suppress=1 oops=panic panic=-1"

// Run boots the machine into a Payload or a Tree and waits until it has switched
// itself off, or the context is done. Its error says why the work was not done to
// the end; that a program failed, or the kernel complained, is in the Run.
func (m *Machine) Run(ctx context.Context, r root) (*Run, error) {
	dir, err := os.MkdirTemp("", "sluice-vm-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	image := filepath.Join(dir, "root.cpio")
	if err := writeRoot(image, m.Kernel, r); err != nil {
		return nil, fmt.Errorf("make the root of the machine: %w", err)
	}
	// Files 3 and 4 of qemu are the two serial lines.
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-accel", "tcg,thread=multi", "-cpu", "max", "-smp", strconv.Itoa(m.CPUs), "-m", strconv.Itoa(m.MemoryMiB),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", m.Kernel.Image, "-initrd", image, "-append", parameters+" "+m.Parameters,
		"-serial", "file:/dev/fd/3", "-serial", "file:/dev/fd/4")
	return m.watch(cmd)
}

// watch runs qemu and reads both lines to their end.
func (m *Machine) watch(cmd *exec.Cmd) (*Run, error) {
	var lines [2]*os.File
	for i := range lines {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		defer r.Close()
		defer w.Close()
		lines[i], cmd.ExtraFiles = r, append(cmd.ExtraFiles, w)
	}
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	cmd.WaitDelay = 10 * time.Second

	ended := start(cmd, func() {
		for _, w := range cmd.ExtraFiles { // so that the lines end with qemu
			w.Close()
		}
	})
	console := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(lines[0]) // ends with the pipe
		console <- strings.ReplaceAll(string(b), "\r", "")
	}()
	t := transcript{begun: time.Now(), line: m.Line}
	t.read(lines[1])
	err := <-ended
	log := <-console

	t.run.Took = time.Since(t.begun)
	t.run.Troubles = troubles(log)
	switch {
	case t.done && err == nil:
		return &t.run, nil
	case t.problem != "":
		err = errors.New(t.problem)
	case err == nil:
		err = errors.New("it ended before its work was done")
	}
	return &t.run, fmt.Errorf("machine with kernel %s, after %v: %w\n%s%s",
		m.Kernel.Version, t.run.Took.Round(time.Second), err, complaints.String(), tail(log))
}

// start starts a command that is not to outlive this process, and calls started once
// it runs or has failed to.
func start(cmd *exec.Cmd, started func()) <-chan error {
	ended := make(chan error, 1)
	go func() {
		// The kernel takes the end of the thread that started it for that of the
		// process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		err := cmd.Start()
		started()
		if err == nil {
			err = cmd.Wait()
		}
		ended <- err
	}()
	return ended
}

// transcript follows what the guest tells.
type transcript struct {
	line    func(program, text string)
	begun   time.Time
	since   time.Time // start of the program
	program string    // that runs now
	problem string
	done    bool
	run     Run
}

func (t *transcript) read(r io.Reader) {
	for lines := bufio.NewReader(r); ; {
		text, err := lines.ReadString('\n')
		text, e, ok := job.Parse(strings.TrimRight(text, "\r\n"))
		if t.line != nil && (text != "" || !ok && err == nil) {
			t.line(t.program, text)
		}
		if ok {
			t.event(e)
		}
		if err != nil {
			return
		}
	}
}

func (t *transcript) event(e job.Event) {
	switch e.Kind {
	case job.Up:
		t.run.Boot = time.Since(t.begun)
	case job.Begin:
		t.program, t.since = e.Name, time.Now()
	case job.End:
		t.run.Programs = append(t.run.Programs, Ended{e.Name, e.Status, time.Since(t.since)})
		t.program = ""
	case job.Problem:
		t.problem = e.Text
	case job.Done:
		t.done = true
	}
}

func tail(log string) string {
	const most = 4000
	return log[max(0, len(log)-most):]
}
