package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"sluice/tests/harness"
)

// idleFlows is how many flows are held open: with the limit of 20,000 open files, a
// proxy that needs two for each has room for few more.
const idleFlows = 9000

// idle is what a contender spends on flows that do nothing.
type idle struct {
	Contender   string
	Failed      string  // why it could not hold them
	Memory      float64 // bytes a flow
	Descriptors float64 // a flow
}

// hold opens flows, says so, and keeps them until its input ends.
func hold(addr string) error {
	hello := harness.Hello(serverName, 0)
	first := append(append([]byte{}, hello...), command{opMany, 1}.bytes()...)
	flows := make([]net.Conn, idleFlows)
	for i := range flows {
		conn, err := net.DialTimeout("tcp", addr, patience)
		if err != nil {
			return fmt.Errorf("open flow %d: %w", i, err)
		}
		flows[i] = conn
		if _, err := conn.Write(append(first, 1)); err != nil {
			return err
		}
		// One exchange, so that it is known to be carried.
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			return fmt.Errorf("flow %d: %w", i, err)
		}
	}
	fmt.Println("serving")
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
	return nil
}

// idle holds flows by way of a contender, and sees what it grows by.
func (s *site) idle(c *contender) (idle, error) {
	before, err := spent(c.cmd)
	if err != nil {
		return idle{}, err
	}
	cmd, err := s.start(s.client, "hold", c.at.String())
	if err != nil {
		return idle{}, err
	}
	after, err := spent(c.cmd)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if err != nil {
		return idle{}, err
	}
	return idle{
		Contender:   c.name,
		Memory:      float64(after.memory-before.memory) / idleFlows,
		Descriptors: float64(after.files-before.files) / idleFlows,
	}, nil
}

// use is what a contender's processes hold.
type use struct {
	memory int64 // bytes that are its own: proportional set size
	files  int
}

// spent sums up a process and its children.
func spent(cmd *exec.Cmd) (use, error) {
	pids, err := family(cmd)
	if err != nil {
		return use{}, err
	}
	var sum use
	for _, pid := range pids {
		text, err := os.ReadFile(filepath.Join("/proc", pid, "smaps_rollup"))
		if err != nil {
			return use{}, fmt.Errorf("read a contender's memory: %w", err)
		}
		for line := range strings.Lines(string(text)) {
			var kib int64
			if n, _ := fmt.Sscanf(line, "Pss: %d kB", &kib); n == 1 {
				sum.memory += kib << 10
			}
		}
		files, err := os.ReadDir(filepath.Join("/proc", pid, "fd"))
		if err != nil {
			return use{}, fmt.Errorf("list a contender's open files: %w", err)
		}
		sum.files += len(files)
	}
	return sum, nil
}
