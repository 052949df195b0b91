package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// Capabilities, by their bits (linux/capability.h).
const (
	capNetBindService = 10
	capNetAdmin       = 12
	capSysAdmin       = 21
	capPerfmon        = 38
	capBPF            = 39
)

// HostChecks are those that need nobody but the host, up to the paths.
func HostChecks(h *Host, p *Plan) []Check {
	lines := func(area, name string, run func(ctx context.Context) []Line) Check {
		return Check{Area: area, Name: name, Run: run}
	}
	line := func(area, name string, run func() Line) Check {
		return lines(area, name, func(context.Context) []Line { return []Line{run()} })
	}
	return []Check{
		line("kernel", "release", func() Line { return h.release(p) }),
		line("kernel", "types (BTF)", func() Line { return h.types(p) }),
		line("kernel", "capabilities", func() Line { return h.capabilities(p) }),
		lines("kernel", "low ports", func(ctx context.Context) []Line { return h.lowPorts(ctx, p) }),
		line("limits", "open files", func() Line { return h.files(p) }),
		lines("limits", "settings", func(ctx context.Context) []Line { return h.settings(ctx, p) }),
		line("places", "bpf file system", func() Line { return h.bpffs(p) }),
		line("places", "state directory", func() Line { return h.stateDir(p) }),
		line("places", "cgroup", h.cgroup),
	}
}

func (h *Host) release(p *Plan) Line {
	k := h.Kernel
	switch {
	case k.Level == OK:
		return Good("release", "%s", k.Release)
	case p.kernelPath() == OK:
		return Good("release", "%s; no matter for -path splice", k.Why)
	case k.Level == Fail && !p.UnsafeKernel:
		return Bad(p.kernelPath(), "release", "update the kernel; or -path splice; or, if this one was patched, -unsafe-kernel",
			"%s: sockmap is off", k.Why)
	case k.Level == Fail:
		return Bad(Warn, "release", "update the kernel", "%s, but -unsafe-kernel is given", k.Why)
	}
	return Bad(Warn, "release", "update the kernel; or -path splice", "%s", k.Why)
}

func (h *Host) types(p *Plan) Line {
	const name, file = "types (BTF)", "sys/kernel/btf/vmlinux"
	_, err := fs.Stat(h.FS, file)
	if err == nil {
		return Good(name, "/%s", file)
	}
	why := fmt.Sprintf("cannot be read: %v", err)
	if errors.Is(err, fs.ErrNotExist) {
		why = "this kernel does not tell of its types: no /" + file
	}
	return Bad(p.kernelPath(), name, "a kernel with CONFIG_DEBUG_INFO_BTF=y, as distributions build it; or -path splice", "%s", why)
}

func (h *Host) capabilities(p *Plan) Line {
	const name = "capabilities"
	caps, who, err := h.effective()
	if err != nil {
		return Bad(Warn, name, "see CapEff in /proc/self/status", "cannot be read: %v", err)
	}
	var missing []string
	for _, c := range []struct {
		name string
		bits uint64 // any of which is enough
	}{
		{"CAP_BPF", 1<<capBPF | 1<<capSysAdmin},
		{"CAP_NET_ADMIN", 1 << capNetAdmin},
		{"CAP_PERFMON", 1<<capPerfmon | 1<<capSysAdmin},
	} {
		if caps&c.bits == 0 {
			missing = append(missing, c.name)
		}
	}
	if len(missing) == 0 {
		return Good(name, "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, %s", who)
	}
	list := strings.Join(missing, " ")
	return Bad(p.kernelPath(), name, "systemd: AmbientCapabilities="+list+"; or -path splice", "%s not among those %s", list, who)
}

// effective are the capabilities in force, and whose they are.
func (h *Host) effective() (caps uint64, who string, err error) {
	dir, who := h.process()
	b, err := fs.ReadFile(h.FS, dir+"/status")
	if err != nil {
		return 0, who, err
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "CapEff:"); ok {
			caps, err = strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			return caps, who, err
		}
	}
	return 0, who, errors.New("no CapEff in " + dir + "/status")
}

// lowPorts looks whether the gateway may bind those that are not everybody's. Without
// such a port there is nothing to say.
func (h *Host) lowPorts(ctx context.Context, p *Plan) []Line {
	addrs, err := p.Listen(ctx)
	first, errFirst := h.number("net.ipv4.ip_unprivileged_port_start")
	if err != nil || errFirst != nil {
		return nil // the addresses have lines of their own, see Addresses
	}
	var low []string
	for _, a := range addrs {
		if a.Port() > 0 && int(a.Port()) < first {
			low = append(low, a.String())
		}
	}
	if len(low) == 0 {
		return nil
	}
	list := strings.Join(low, ", ")
	caps, who, err := h.effective()
	switch {
	case err != nil:
		return []Line{Bad(Warn, "", "see CapEff in /proc/self/status", "capabilities cannot be read: %v", err)}
	case caps&(1<<capNetBindService) == 0:
		return []Line{Bad(Fail, "", "systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE; or a port from "+strconv.Itoa(first)+" on",
			"%s: CAP_NET_BIND_SERVICE is not among the capabilities %s", list, who)}
	}
	return []Line{Good("", "%s: CAP_NET_BIND_SERVICE %s", list, who)}
}
