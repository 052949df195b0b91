package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// busy is the time that all processors together have worked since the start, in
// seconds, the kernel's own work for nobody in particular included.
func busy() (float64, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("read what the processors did: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	var user, nice, system, idle, iowait, irq, softirq float64
	if _, err := fmt.Sscanf(line, "cpu %f %f %f %f %f %f %f", &user, &nice, &system, &idle, &iowait, &irq, &softirq); err != nil {
		return 0, fmt.Errorf("read %q: %w", line, err)
	}
	return (user + nice + system + irq + softirq) / tick, nil
}

const tick = 100 // USER_HZ, the same everywhere

// ownBusy is the same of a contender's processes alone: what the kernel does for them
// while it receives packets is nobody's, and not in it.
func ownBusy(cmd *exec.Cmd) (float64, error) {
	if cmd == nil {
		return 0, nil
	}
	pids, err := family(cmd)
	if err != nil {
		return 0, err
	}
	var sum float64
	for _, pid := range pids {
		text, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
		if err != nil {
			return 0, fmt.Errorf("read what a contender has used: %w", err)
		}
		// The name before it may have blanks; utime and stime are fields 14 and 15.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		for _, i := range []int{11, 12} {
			ticks, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return 0, fmt.Errorf("read %q: %w", text, err)
			}
			sum += ticks / tick
		}
	}
	return sum, nil
}

// family are a contender's processes: the one that was started, and its children.
func family(cmd *exec.Cmd) ([]string, error) {
	pid := strconv.Itoa(cmd.Process.Pid)
	children, err := os.ReadFile(fmt.Sprintf("/proc/%s/task/%s/children", pid, pid))
	if err != nil {
		return nil, fmt.Errorf("list a contender's processes: %w", err)
	}
	return append([]string{pid}, strings.Fields(string(children))...), nil
}
