package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"sluice/tests/bench/figure"
)

// busy is the time that all processors together have worked since the start, in
// seconds, the kernel's own work for nobody in particular included.
func busy() (float64, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("read what the processors did: %w", err)
	}
	return worked(string(text))
}

// worked reads the first line of /proc/stat (proc(5)).
func worked(stat string) (float64, error) {
	line, _, _ := strings.Cut(stat, "\n")
	var user, nice, system, idle, iowait, irq, softirq float64
	if _, err := fmt.Sscanf(line, "cpu %f %f %f %f %f %f %f", &user, &nice, &system, &idle, &iowait, &irq, &softirq); err != nil {
		return 0, fmt.Errorf("read %q: %w", line, err)
	}
	return (user + nice + system + irq + softirq) / tick, nil
}

// meter sees what processors do from its start on: all, and those of some processes.
type meter struct {
	pids     []string
	all, own float64
}

func startMeter(pids []string) (*meter, error) {
	all, own, err := both(pids)
	return &meter{pids, all, own}, err
}

// stop adds what it saw.
func (m *meter) stop(to *figure.Measured) error {
	all, own, err := both(m.pids)
	to.CPU, to.Own = all-m.all, own-m.own
	return err
}

func both(pids []string) (all, own float64, err error) {
	if all, err = busy(); err != nil {
		return 0, 0, err
	}
	own, err = ownBusy(pids)
	return all, own, err
}

const tick = 100 // USER_HZ, the same everywhere

// ownBusy is the same of a contender's processes alone: what the kernel does for them
// while it receives packets is nobody's, and not in it.
func ownBusy(pids []string) (float64, error) {
	var sum float64
	for _, pid := range pids {
		text, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
		if err != nil {
			return 0, fmt.Errorf("read what a contender has used: %w", err)
		}
		own, err := used(text)
		if err != nil {
			return 0, err
		}
		sum += own
	}
	return sum, nil
}

// used reads the processor time from a process's stat file: utime and stime, fields
// 14 and 15 (proc(5)), in seconds. The second field, the name, may have blanks.
func used(stat []byte) (float64, error) {
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("read %q: too few fields", stat)
	}
	var sum float64
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return 0, fmt.Errorf("read %q: %w", stat, err)
		}
		sum += ticks / tick
	}
	return sum, nil
}

// family are a contender's processes: those that were started, and their children.
func family(cmds []*exec.Cmd) ([]string, error) {
	var pids []string
	for _, cmd := range cmds {
		pid := strconv.Itoa(cmd.Process.Pid)
		children, err := os.ReadFile(fmt.Sprintf("/proc/%s/task/%s/children", pid, pid))
		if err != nil {
			return nil, fmt.Errorf("list a contender's processes: %w", err)
		}
		pids = append(append(pids, pid), strings.Fields(string(children))...)
	}
	return pids, nil
}
