package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"sluice/scripts/lab"
	"sluice/tests/bench/figure"
)

// What the kernel is told that matters here: by the host, and in each namespace.
var (
	hostSysctls = []string{
		"net.core.default_qdisc", "net.core.netdev_budget", "net.core.netdev_max_backlog",
		"net.core.rmem_max", "net.core.wmem_max", "net.core.busy_poll", "net.core.bpf_jit_enable",
		"net.ipv4.tcp_mem", "kernel.sched_autogroup_enabled", "fs.pipe-max-size", "fs.pipe-user-pages-soft",
	}
	namespaceSysctls = []string{
		"net.core.somaxconn", "net.ipv4.ip_forward", "net.ipv4.ip_local_port_range",
		"net.ipv4.tcp_congestion_control", "net.ipv4.tcp_max_syn_backlog", "net.ipv4.tcp_no_metrics_save",
		"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem", "net.ipv4.tcp_sack", "net.ipv4.tcp_slow_start_after_idle",
		"net.ipv4.tcp_timestamps", "net.ipv4.tcp_tw_reuse", "net.ipv4.tcp_autocorking",
	}
)

// thisMachine tells what a run is made on.
func thisMachine() figure.Machine {
	m := figure.Machine{
		Cores:      runtime.NumCPU(),
		CPU:        proc("cpuinfo", "model name"),
		Memory:     proc("meminfo", "MemTotal"),
		Sysctls:    read(hostSysctls),
		Namespaces: map[string]map[string]string{},
		Tools:      map[string]string{},
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	for _, tool := range []*exec.Cmd{exec.Command("iperf3", "--version"), exec.Command("wrk", "-v")} {
		m.Tools[tool.Args[0]] = firstLine(tool)
	}
	return m
}

// proc is what a file of /proc says after a name and a colon.
func proc(file, name string) string {
	text, err := os.ReadFile(filepath.Join("/proc", file))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if n, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(n) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// read gets the sysctls that this kernel has.
func read(names []string) map[string]string {
	values := map[string]string{}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/")))
		if err == nil {
			values[name] = strings.Join(strings.Fields(string(text)), " ")
		}
	}
	return values
}

// describe adds what a namespace has of its own.
func describe(m *figure.Machine, layout string, ns *lab.Namespace) error {
	return ns.Do(func() error {
		m.Namespaces[fmt.Sprintf("%s: %s", layout, ns.Name)] = read(namespaceSysctls)
		return nil
	})
}

// firstLine is the first line that a program prints, or why it does not run.
func firstLine(cmd *exec.Cmd) string {
	out, err := cmd.CombinedOutput()
	line, _, _ := strings.Cut(string(out), "\n")
	if line == "" && err != nil {
		return err.Error()
	}
	return line
}
