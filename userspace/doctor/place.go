package doctor

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
)

// bpffs looks where maps are to be pinned: below a directory of a BPF file system, in
// which the gateway may make its own, or that it may write to if somebody else has.
func (h *Host) bpffs(p *Plan) Line {
	const name = "bpf file system"
	dir := filepath.Clean(p.BPFDir)
	parent := filepath.Dir(dir)
	all, err := h.mounts()
	if err != nil {
		return Bad(p.kernelPath(), name, "see /proc/self/mountinfo", "mounts cannot be read: %v", err)
	}
	m, ok := mountOf(all, parent)
	switch {
	case !ok || m.kind != "bpf":
		return Bad(p.kernelPath(), name, "mount -t bpf bpf /sys/fs/bpf; or -bpf-dir on the one there is; or -path splice",
			"%s, where %s is to be, is not on one", parent, dir)
	case m.readOnly:
		return Bad(p.kernelPath(), name, "mount -o remount,rw "+m.point, "the one at %s is mounted read-only", m.point)
	}
	target := dir
	if !h.exists(dir) {
		target = parent
	}
	if err := h.Writable(target); err != nil {
		return Bad(p.kernelPath(), name, "install -d -m 0750 -o USER -g GROUP "+dir+", with those of the gateway (scripts/systemd/sluice.tmpfiles does it)",
			"%s cannot be written to: %v", target, err)
	}
	return Good(name, "%s, on the one at %s", dir, m.point)
}

func (h *Host) exists(path string) bool {
	_, err := fs.Stat(h.FS, strings.TrimPrefix(path, "/"))
	return !errors.Is(err, fs.ErrNotExist)
}

// stateDir looks where the last table is kept. A file of routes needs none.
func (h *Host) stateDir(p *Plan) Line {
	const name = "state directory"
	switch {
	case p.Routes != "":
		return Good(name, "not needed with -routes")
	case p.StateDir == "":
		return Bad(Warn, name, "-state-dir=/var/lib/sluice; systemd: StateDirectory=sluice",
			"none: a restart while Consul is away would have no table to serve")
	case !h.exists(p.StateDir):
		return Bad(Fail, name, "install -d -m 0750 -o USER -g GROUP "+p.StateDir+", with those of the gateway", "%s is not there", p.StateDir)
	}
	if err := h.Writable(p.StateDir); err != nil {
		return Bad(Fail, name, "chown it to the gateway's user", "%s cannot be written to: %v", p.StateDir, err)
	}
	return Good(name, "%s", p.StateDir)
}

// cgroup is for information: no path of today needs one.
func (h *Host) cgroup() Line {
	const name = "cgroup"
	all, err := h.mounts()
	if err != nil {
		return Good(name, "not known: %v", err)
	}
	for _, m := range all {
		if m.kind != "cgroup2" {
			continue
		}
		own := ""
		b, _ := fs.ReadFile(h.FS, "proc/self/cgroup")
		for line := range strings.Lines(string(b)) {
			if path, ok := strings.CutPrefix(line, "0::"); ok { // the unified hierarchy, cgroups(7)
				own = ", here " + strings.TrimSpace(path)
			}
		}
		return Good(name, "version 2 at %s%s", m.point, own)
	}
	return Good(name, "no cgroup2 is mounted; nothing needs one yet")
}
