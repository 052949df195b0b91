package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strconv"
	"strings"
)

// Plan is what the gateway is to do, as far as the host must allow for it.
type Plan struct {
	Path         string // as -path: "splice", "sockmap", or "auto" or "" for both
	UnsafeKernel bool   // use sockmap whatever is known of the kernel
	Local        bool   // use local acceleration
	BPFDir       string // where maps are pinned
	StateDir     string // where the last table is kept; "": nowhere
	SharePorts   bool   // listen where others do
	Metrics      string // "host:port" for metrics; "": none
	Routes       string // the file of routes; "": they come from Consul

	Workers     int
	Pipes       int // most, of a worker
	Flows       int // most at one time; 0: as many as open files have room for
	FilesBeside int // open files for all that is no flow

	// Listen tells the addresses to listen on. Consul may have to be asked for them.
	Listen func(ctx context.Context) ([]netip.AddrPort, error)
}

// kernelPath is how bad it is when sockmap cannot be used: nothing is lost where nobody
// asked for it, little where splice stands in for it.
func (p *Plan) kernelPath() Level {
	switch p.Path {
	case "splice":
		return OK
	case "sockmap":
		return Fail
	}
	return Warn
}

// Host is where the gateway is to run. Its fields are all that the checks see of it.
type Host struct {
	FS     fs.FS  // the root of its file system, /proc and /sys above all; it can read links
	Kernel Kernel // what is known of its version
	// Running is the process of the gateway that these settings are of, 0 when there
	// is none, or it did not say. Its limits and capabilities count then, and not
	// this process's.
	Running int
	// Writable fails if this process may not write in the directory.
	Writable func(dir string) error
	// Bind fails if an address cannot be bound as a gateway would. Bind is the real one.
	Bind func(addr netip.AddrPort, share bool) error
}

// Kernel is what is known of the running kernel's version and the sockmap path.
type Kernel struct {
	Release string
	Level   Level  // Warn: fixes are missing, Fail: it is known to crash
	Why     string // not OK
}

// process is the directory of the process whose limits count, and who that is, in words.
func (h *Host) process() (dir, who string) {
	if h.Running != 0 {
		return fmt.Sprintf("proc/%d", h.Running), fmt.Sprintf("of the running gateway, process %d", h.Running)
	}
	return "proc/self", "of this process"
}

// sysctl reads a setting of the kernel, named with dots.
func (h *Host) sysctl(name string) (string, error) {
	b, err := fs.ReadFile(h.FS, "proc/sys/"+strings.ReplaceAll(name, ".", "/"))
	return strings.TrimSpace(string(b)), err
}

// numbers reads a setting that is want numbers.
func (h *Host) numbers(name string, want int) ([]int, error) {
	text, err := h.sysctl(name)
	if err != nil {
		return nil, err
	}
	var all []int
	for _, field := range strings.Fields(text) {
		n, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("%s is %q, which is no number", name, text)
		}
		all = append(all, n)
	}
	if len(all) != want {
		return nil, fmt.Errorf("%s is %q, want %d numbers", name, text, want)
	}
	return all, nil
}

func (h *Host) number(name string) (int, error) {
	all, err := h.numbers(name, 1)
	if err != nil {
		return 0, err
	}
	return all[0], nil
}

// unread is the line of a setting that cannot be read. That it is not there is no
// trouble: this kernel, or this network namespace, has no such thing.
func unread(name string, err error) Line {
	if errors.Is(err, fs.ErrNotExist) {
		return Good(name, "this kernel does not have it")
	}
	if errors.Is(err, fs.ErrPermission) {
		return Good(name, "only root may read it")
	}
	return Bad(Warn, name, "see sysctl "+name, "cannot be read: %v", err)
}

// mount is a line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
type mount struct {
	point, kind string
	readOnly    bool
}

func (h *Host) mounts() ([]mount, error) {
	b, err := fs.ReadFile(h.FS, "proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var all []mount
	for line := range strings.Lines(string(b)) {
		front, back, ok := strings.Cut(line, " - ")
		f, g := strings.Fields(front), strings.Fields(back)
		if !ok || len(f) < 6 || len(g) < 3 {
			continue
		}
		point := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(f[4])
		all = append(all, mount{point, g[0], readOnly(f[5]) || readOnly(g[2])})
	}
	return all, nil
}

func readOnly(options string) bool { return strings.HasPrefix(options+",", "ro,") }

// mountOf is the mount that a path is on: the last of those with the longest way in common.
func mountOf(all []mount, path string) (mount, bool) {
	var best mount
	for _, m := range all {
		below := m.point == "/" || path == m.point || strings.HasPrefix(path, m.point+"/")
		if below && len(m.point) >= len(best.point) {
			best = m
		}
	}
	return best, best.point != ""
}
