package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"sluice/tests/bench/figure"
	"sluice/tests/harness"
)

// idleFlows is how many flows are held open: with the limit of 20,000 open files, a
// proxy that needs two for each has room for few more.
const idleFlows = 9000

// hold opens flows, says so, and keeps them until its input ends.
func hold(addr string) error {
	hello := harness.Hello(plain.name, 0)
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
	runtime.KeepAlive(flows) // or else the collector closes some before they are counted
	return nil
}

// idle holds flows by way of a contender, and sees what it grows by.
func (e *entry) idle() figure.Idle {
	got := figure.Idle{Contender: e.Name, Flows: idleFlows}
	grown, err := e.grown()
	if err != nil {
		got.Failed = err.Error()
		return got
	}
	got.Memory = float64(grown.memory) / idleFlows
	got.Descriptors = float64(grown.files) / idleFlows
	return got
}

func (e *entry) grown() (use, error) {
	before, err := spent(e.cmds())
	if err != nil {
		return use{}, err
	}
	cmd, err := start(e.site.client, "hold", e.address(plain).String())
	if err != nil {
		return use{}, err
	}
	after, err := spent(e.cmds())
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	e.settle(before.files)
	return use{after.memory - before.memory, after.files - before.files}, err
}

// settle waits until a contender has closed what it held, so that the next one is
// measured alone.
func (e *entry) settle(files int) {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if now, err := spent(e.cmds()); err != nil || now.files < files+idleFlows/100 {
			return
		}
	}
}

// use is what a contender's processes hold.
type use struct {
	memory int64 // bytes that are its own: proportional set size
	files  int
}

// spent sums up processes and their children.
func spent(cmds []*exec.Cmd) (use, error) {
	pids, err := family(cmds)
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
