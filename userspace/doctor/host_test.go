package doctor

import (
	"errors"
	"io/fs"
	"testing"
	"time"
)

const modeLink = fs.ModeSymlink

// TestGoodHost: on a good host every line is ok.
func TestGoodHost(t *testing.T) {
	r := Run(t.Context(), HostChecks(hostOf(nil), planOf(nil)), time.Minute)
	for _, l := range r.Lines {
		expect(t, l, OK, "", "")
	}
	if r.OK != len(r.Lines) || r.OK < 15 {
		t.Errorf("%d of %d lines are ok", r.OK, len(r.Lines))
	}
}

// TestHost changes one thing of the good host or of the usual plan at a time.
func TestHost(t *testing.T) {
	const (
		caps      = "capabilities"
		open      = "open files"
		ports     = "net.ipv4.ip_local_port_range"
		tracked   = "net.netfilter.nf_conntrack_max"
		migrate   = "net.ipv4.tcp_migrate_req"
		bpf       = "bpf file system"
		state     = "state directory"
		procPorts = "proc/sys/net/ipv4/ip_local_port_range"
	)
	splice := func(p *Plan) { p.Path = "splice" }
	kernelOnly := func(p *Plan) { p.Path = "sockmap" }
	flows := func(n int) func(*Plan) { return func(p *Plan) { p.Flows = n } }
	listen := func(addrs ...string) func(*Plan) { return func(p *Plan) { p.Listen = listenOn(addrs...) } }
	limit := func(n string) files {
		return files{"proc/self/limits": "Max open files            1024                 " + n + "                files\n"}
	}
	noCaps := files{"proc/self/status": "CapEff:\t0000000000001000\n"}
	for _, c := range []struct {
		name          string
		changed       files
		host          func(*Host)
		plan          func(*Plan)
		line          string
		level         Level
		found, remedy string
	}{
		{"kernel", nil, nil, nil, "release", OK, "6.18.40", ""},
		{"kernel that lacks fixes", nil, func(h *Host) { h.Kernel = Kernel{"6.1.1", Warn, "lacks"} }, nil, "release", Warn, "lacks", "update"},
		{"kernel that crashes", nil, func(h *Host) { h.Kernel = Kernel{"6.1.1", Fail, "lacks"} }, nil, "release", Warn, "lacks: sockmap is off", "-unsafe-kernel"},
		{"the same, sockmap only", nil, func(h *Host) { h.Kernel = Kernel{"6.1.1", Fail, "lacks"} }, kernelOnly, "release", Fail, "sockmap is off", "-path splice"},
		{"the same, splice only", nil, func(h *Host) { h.Kernel = Kernel{"6.1.1", Fail, "lacks"} }, splice, "release", OK, "no matter", ""},
		{"the same, patched", nil, func(h *Host) { h.Kernel = Kernel{"6.1.1", Fail, "lacks"} }, func(p *Plan) { p.UnsafeKernel = true }, "release", Warn, "-unsafe-kernel is given", "update"},

		{"no types", files{"sys/kernel/btf/vmlinux": "gone"}, nil, nil, "types (BTF)", Warn, "no /sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF=y"},
		{"no types, sockmap only", files{"sys/kernel/btf/vmlinux": "gone"}, nil, kernelOnly, "types (BTF)", Fail, "", "CONFIG_DEBUG_INFO_BTF=y"},
		{"no types, splice only", files{"sys/kernel/btf/vmlinux": "gone"}, nil, splice, "types (BTF)", OK, "", ""},

		{"no capabilities", noCaps, nil, nil, caps, Warn, "CAP_BPF CAP_PERFMON not among those of this process", "AmbientCapabilities=CAP_BPF CAP_PERFMON"},
		{"no capabilities, sockmap only", noCaps, nil, kernelOnly, caps, Fail, "", "AmbientCapabilities"},
		{"no capabilities, splice only", noCaps, nil, splice, caps, OK, "", ""},
		{"CAP_SYS_ADMIN in place of newer ones", files{"proc/self/status": "CapEff:\t0000000000201000\n"}, nil, nil, caps, OK, "", ""},
		{"no status", files{"proc/self/status": "gone"}, nil, nil, caps, Warn, "cannot be read", "CapEff"},
		{"status without them", files{"proc/self/status": "Name:\tx\n"}, nil, nil, caps, Warn, "no CapEff", "CapEff"},
		{"those of the running gateway", files{"proc/77/status": "CapEff:\t0000000000000000\n"}, func(h *Host) { h.Running = 77 }, nil, caps, Warn, "of the running gateway, process 77", "CAP_BPF"},

		{"low port", nil, nil, listen("10.0.0.1:443", "10.0.0.1:8443"), "low ports", OK, "10.0.0.1:443: CAP_NET_BIND_SERVICE", ""},
		{"low port, not allowed", noCaps, nil, listen("10.0.0.1:443"), "low ports", Fail, "10.0.0.1:443: CAP_NET_BIND_SERVICE is not", "from 1024 on"},
		{"low port, status gone", files{"proc/self/status": "gone"}, nil, listen("10.0.0.1:443"), "low ports", Warn, "cannot be read", "CapEff"},

		{"files", nil, nil, nil, open, OK, "100000 of this process: room for 49500 flows", ""},
		{"files without limit", limit("unlimited"), nil, nil, open, OK, "2147483647", ""},
		{"too few files to start", limit("1001"), nil, nil, open, Fail, "too few to start", "LimitNOFILE=9192"},
		{"few files", limit("4096"), nil, nil, open, Warn, "room for 1548 flows", "LimitNOFILE=9192"},
		{"few files, few flows", limit("4096"), nil, flows(1000), open, OK, "room for 1000", ""},
		{"few files, many flows", limit("4096"), nil, flows(5000), open, Fail, "-max-flows=5000 takes 11000", "LimitNOFILE=11000"},
		{"many pipes", limit("20000"), nil, func(p *Plan) { p.Pipes = 1000 }, open, Warn, "none then for all pipes (4000)", "-max-flows=7900"},
		{"no limits", files{"proc/self/limits": "gone"}, nil, nil, open, Warn, "cannot be read", "ulimit"},
		{"limits without files", files{"proc/self/limits": "Max processes 1 1\n"}, nil, nil, open, Warn, "no limit of open files", "ulimit"},

		{"short backlog", files{"proc/sys/net/core/somaxconn": "128\n"}, nil, nil, "net.core.somaxconn", Warn, "128", "sysctl -w net.core.somaxconn=4096"},
		{"setting that is not there", files{"proc/sys/net/core/somaxconn": "gone"}, nil, nil, "net.core.somaxconn", OK, "does not have it", ""},
		{"setting that is no number", files{"proc/sys/net/core/somaxconn": "many\n"}, nil, nil, "net.core.somaxconn", Warn, `"many"`, "sysctl"},
		{"setting of other numbers", files{procPorts: "1 2 3\n"}, nil, nil, ports, Warn, "want 2 numbers", "sysctl"},
		{"shared ports, no migration", nil, nil, func(p *Plan) { p.SharePorts = true }, migrate, Warn, "are reset", "sysctl -w net.ipv4.tcp_migrate_req=1"},
		{"migration", files{"proc/sys/net/ipv4/tcp_migrate_req": "1\n"}, nil, func(p *Plan) { p.SharePorts = true }, migrate, OK, "1", ""},

		{"few local ports", files{procPorts: "50000 50999\n"}, nil, nil, ports, Warn, "at most 1000 flows to one endpoint", "32768 60999"},
		{"fewer local ports than flows", nil, nil, flows(40000), ports, Warn, "at most 28232 flows to one endpoint", "10240 65535"},
		{"own port among local ones", files{procPorts: "1024 65535\n"}, nil, nil, ports, Warn, "with port 8443 among them", "ip_local_reserved_ports=8443"},
		{"the same, others reserved", files{procPorts: "1024 65535\n", "proc/sys/net/ipv4/ip_local_reserved_ports": "9000-9001\n"}, nil, nil, ports, Warn, "port 8443", "ip_local_reserved_ports=9000-9001,8443"},
		{"the same, reserved", files{procPorts: "1024 65535\n", "proc/sys/net/ipv4/ip_local_reserved_ports": "22,8000-9000\n"}, nil, nil, ports, OK, "64512 flows", ""},

		{"small buffers", files{"proc/sys/net/ipv4/tcp_wmem": "4096 16384 1048576\n"}, nil, nil, "net.ipv4.tcp_wmem", Warn, "84 Mbit/s", `tcp_wmem="4096 16384 16777216"`},
		{"small buffers to read", files{"proc/sys/net/ipv4/tcp_rmem": "4096 16384 212992\n"}, nil, nil, "net.ipv4.tcp_rmem", Warn, "17 Mbit/s", "tcp_rmem"},

		{"tracking that is nearly full", files{"proc/sys/net/netfilter/nf_conntrack_count": "220000\n"}, nil, nil, tracked, Warn, "220000 of 262144", "nf_conntrack_max=524288"},
		{"more flows than are tracked", files{"proc/sys/net/netfilter/nf_conntrack_max": "20000\n"}, nil, flows(15000), tracked, Warn, "two for each", "nf_conntrack_max=45000"},
		{"no count of those tracked", files{"proc/sys/net/netfilter/nf_conntrack_count": "gone"}, nil, nil, "net.netfilter.nf_conntrack_count", OK, "does not have it", ""},

		{"interpreted programs", files{"proc/sys/net/core/bpf_jit_enable": "0\n"}, nil, nil, "net.core.bpf_jit_enable", Warn, "interpreted", "sysctl -w net.core.bpf_jit_enable=1"},
		{"interpreted, sockmap only", files{"proc/sys/net/core/bpf_jit_enable": "0\n"}, nil, kernelOnly, "net.core.bpf_jit_enable", Warn, "interpreted", "sysctl"},
		{"interpreted, splice only", files{"proc/sys/net/core/bpf_jit_enable": "0\n"}, nil, splice, "net.core.bpf_jit_enable", OK, "", ""},
		{"BPF for everybody", files{"proc/sys/kernel/unprivileged_bpf_disabled": "0\n"}, nil, nil, "kernel.unprivileged_bpf_disabled", OK, "2 is safer", ""},

		{"pins", nil, nil, nil, bpf, OK, "/sys/fs/bpf/sluice, on the one at /sys/fs/bpf", ""},
		{"pins elsewhere", nil, nil, func(p *Plan) { p.BPFDir = "/run/sluice" }, bpf, Warn, "/run, where /run/sluice is to be", "mount -t bpf bpf /sys/fs/bpf"},
		{"no BPF file system", files{"proc/self/mountinfo": "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"}, nil, nil, bpf, Warn, "is not on one", "mount -t bpf"},
		{"the same, sockmap only", files{"proc/self/mountinfo": "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"}, nil, kernelOnly, bpf, Fail, "is not on one", "mount -t bpf"},
		{"mounted over", files{"proc/self/mountinfo": "23 22 0:22 / /sys/fs/bpf rw - bpf bpf rw\n24 23 0:9 / /sys/fs/bpf rw - tmpfs tmpfs rw\n"}, nil, nil, bpf, Warn, "is not on one", "mount -t bpf"},
		{"a name that begins the same", files{"proc/self/mountinfo": "22 1 8:1 / / rw - ext4 x rw\n23 22 0:22 / /sys/fs/b rw - bpf bpf rw\n"}, nil, nil, bpf, Warn, "is not on one", "mount -t bpf"},
		{"BPF file system to read", files{"proc/self/mountinfo": "23 22 0:22 / /sys/fs/bpf ro,nosuid - bpf bpf rw\n"}, nil, nil, bpf, Warn, "read-only", "mount -o remount,rw /sys/fs/bpf"},
		{"pins not allowed", nil, func(h *Host) { h.Writable = refuse("/sys/fs/bpf/sluice") }, nil, bpf, Warn, "/sys/fs/bpf/sluice cannot be written", "install -d"},
		{"directory of pins not allowed", files{"sys/fs/bpf/sluice/default/1/identity": "gone", "sys/fs/bpf/x": ""}, func(h *Host) { h.Writable = refuse("/sys/fs/bpf") }, nil, bpf, Warn, "/sys/fs/bpf cannot be written", "install -d"},
		{"no mounts", files{"proc/self/mountinfo": "gone"}, nil, nil, bpf, Warn, "cannot be read", "mountinfo"},

		{"no state", nil, nil, func(p *Plan) { p.StateDir = "" }, state, Warn, "no table to serve", "-state-dir"},
		{"state of a file", nil, nil, func(p *Plan) { p.StateDir, p.Routes = "", "routes.hcl" }, state, OK, "not needed", ""},
		{"state that is not there", nil, nil, func(p *Plan) { p.StateDir = "/var/lib/other" }, state, Fail, "not there", "install -d"},
		{"state not allowed", nil, func(h *Host) { h.Writable = refuse("/var/lib/sluice") }, nil, state, Fail, "cannot be written", "chown"},

		{"cgroup", nil, nil, nil, "cgroup", OK, "version 2 at /sys/fs/cgroup, here /system.slice/sluice.service", ""},
		{"no cgroup", files{"proc/self/mountinfo": "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"}, nil, nil, "cgroup", OK, "no cgroup2", ""},
		{"no mounts, no cgroup", files{"proc/self/mountinfo": "gone"}, nil, nil, "cgroup", OK, "not known", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := hostOf(c.changed)
			if c.host != nil {
				c.host(h)
			}
			r := Run(t.Context(), HostChecks(h, planOf(c.plan)), time.Minute)
			expect(t, one(t, r.Lines, c.line), c.level, c.found, c.remedy)
		})
	}
}

// refuse is a Writable for which one directory is not.
func refuse(dir string) func(string) error {
	return func(d string) error {
		if d == dir {
			return errors.New("permission denied")
		}
		return nil
	}
}

// TestUnsaid: what does not concern a host has no line.
func TestUnsaid(t *testing.T) {
	h := hostOf(files{"proc/sys/net/netfilter/nf_conntrack_max": "gone"})
	for _, l := range Run(t.Context(), HostChecks(h, planOf(nil)), time.Minute).Lines {
		if l.Name == "net.netfilter.nf_conntrack_max" || l.Name == "low ports" {
			t.Errorf("there is a line %+v", l)
		}
	}
}

// TestUnread: only root may read some settings.
func TestUnread(t *testing.T) {
	expect(t, unread("x", fs.ErrPermission), OK, "only root", "")
}
