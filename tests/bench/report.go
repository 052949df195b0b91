package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"
)

// machine is what the figures were seen on.
type machine struct {
	Kernel, CPU string
	Cores       int
	Versions    map[string]string // of contenders
}

func thisMachine(sluice string) machine {
	m := machine{Cores: runtime.NumCPU(), Versions: map[string]string{}}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			m.CPU = strings.TrimSpace(value)
			break
		}
	}
	for name, cmd := range map[string]*exec.Cmd{
		"sluice": exec.Command(sluice, "version"), "haproxy": exec.Command("haproxy", "-v"), "nginx": exec.Command("nginx", "-v"),
	} {
		out, _ := cmd.CombinedOutput()
		m.Versions[name], _, _ = strings.Cut(string(out), "\n")
	}
	return m
}

// print writes a table for each workload.
func (r *results) print(out io.Writer, all []*contender, done []workload) {
	fmt.Fprintf(out, "\n%d rounds, kernel %s, %d x %s\n", r.Rounds, r.Machine.Kernel, r.Machine.Cores, r.Machine.CPU)
	for _, w := range done {
		fmt.Fprintf(out, "\n%s\n", w.Name)
		t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
		per := "CPU s/GiB"
		if w.Unit != "Gbit/s" {
			per = "CPU s/100k"
		}
		fmt.Fprintf(t, "contender\t%s\tmin-max\tof limit\tof haproxy\tp50 us\tp99 us\t%s\town %% of a core\t\n", w.Unit, per)
		for _, c := range all {
			rate := r.each(c.name, w, func(s sample) float64 { return s.rate(w) })
			fmt.Fprintf(t, "%s\t%s\t%s-%s\t%.2f\t%.2f\t%.0f\t%.0f\t%.2f\t%.1f\t\n", c.name,
				figure(rate.Median), figure(rate.Min), figure(rate.Max),
				r.ratio(c.name, limit, w).Median, r.ratio(c.name, "haproxy", w).Median,
				r.each(c.name, w, func(s sample) float64 { return s.P50 }).Median,
				r.each(c.name, w, func(s sample) float64 { return s.P99 }).Median,
				r.each(c.name, w, func(s sample) float64 { return s.cost(w) }).Median,
				r.each(c.name, w, func(s sample) float64 { return 100 * s.Own / s.Seconds }).Median)
		}
		t.Flush()
	}
	if len(r.Idle) == 0 {
		return
	}
	fmt.Fprintf(out, "\n%d idle flows\n", idleFlows)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "contender\tbytes a flow\tdescriptors a flow\t\n")
	for _, i := range r.Idle {
		if i.Failed != "" {
			fmt.Fprintf(t, "%s\tcould not\t\t\n", i.Contender)
			continue
		}
		fmt.Fprintf(t, "%s\t%.0f\t%.2f\t\n", i.Contender, i.Memory, i.Descriptors)
	}
	t.Flush()
}

func figure(f float64) string {
	if f >= 100 {
		return fmt.Sprintf("%.0f", f)
	}
	return fmt.Sprintf("%.2f", f)
}
