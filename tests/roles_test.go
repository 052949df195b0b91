package tests

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/tests/harness"
)

// roleVariable, in the environment, makes the test binary play a part in a
// process of its own: one to be killed, or one with open files of its own.
const roleVariable = "SLUICE_TEST_ROLE"

// role is a command that plays a part.
func role(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVariable+"="+strings.Join(append([]string{name}, args...), " "))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// startServer runs the part of a server in a process of its own, and returns when
// that listens.
func (s *site) startServer(t *testing.T, port uint16) *exec.Cmd {
	t.Helper()
	ns := s.NS("server")
	cmd := role("serve", s.addr(ns, port))
	out, err := cmd.StdoutPipe()
	harness.Must(t, err)
	harness.Must(t, ns.Start(cmd))
	t.Cleanup(func() { killUnlessEnded(cmd) })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "serving\n" {
		t.Fatalf("the server's process: %q, %v", line, err)
	}
	return cmd
}

func killed(cmd *exec.Cmd) error {
	if err := cmd.Process.Kill(); err != nil {
		return err
	}
	_ = cmd.Wait() // tells of the kill
	return nil
}

func killUnlessEnded(cmd *exec.Cmd) {
	if cmd.ProcessState == nil {
		_ = killed(cmd)
	}
}

// play is the whole life of such a process; it returns its exit status.
func play(role string) int {
	args := strings.Fields(role)
	var err error
	switch args[0] {
	case "hold":
		err = hold(args[1], args[2], args[3])
	case "serve":
		err = serve(args[1])
	default:
		err = fmt.Errorf("no role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// hold opens flows to addr, sees each one's hello echoed if it comes, says on
// standard output when it has all, and holds them until its standard input ends.
func hold(addr, name, count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	hello := harness.Hello(name, 0)
	conns := make([]net.Conn, n)
	for i := range conns {
		if conns[i], err = net.Dial("tcp", addr); err != nil {
			return err
		}
		if _, err := conns[i].Write(hello); err != nil {
			return err
		}
		if n == 1 {
			continue // of a test whose server is silent
		}
		if err := conns[i].SetReadDeadline(time.Now().Add(harness.Patience)); err != nil {
			return err
		}
		if err := harness.ReceiveBytes(conns[i], hello); err != nil {
			return fmt.Errorf("flow %d: %w", i, err)
		}
	}
	fmt.Println("holding")
	_, err = io.Copy(io.Discard, waitingInput{})
	return err
}

// waitingInput is the standard input, or a wait without end if there is none.
type waitingInput struct{}

func (waitingInput) Read(b []byte) (int, error) {
	if fi, err := os.Stdin.Stat(); err != nil || fi.Mode()&os.ModeNamedPipe == 0 {
		select {}
	}
	return os.Stdin.Read(b)
}

// serve echoes on addr until it is killed. It says on standard output when it
// listens.
func serve(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Println("serving")
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			// Without io.Copy's splice, which would take pipes.
			_, _ = io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{c}, make([]byte, 2048))
		}()
	}
}

// answer sends one byte to all who come, when they have said something.
func answer(l net.Listener, with byte) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			if _, err := c.Read(make([]byte, 4096)); err == nil {
				_, _ = c.Write([]byte{with})
				_, _ = io.Copy(io.Discard, c)
			}
		}()
	}
}
