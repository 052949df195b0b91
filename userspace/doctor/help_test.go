package doctor

import (
	"context"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"
)

// files is a file system as a test describes it: contents by path, "" for none of that
// path. What begins with "->" is a link.
type files map[string]string

// goodHost is one on which nothing is amiss.
var goodHost = files{
	"proc/self/status":                             "Name:\tsluice\nCapEff:\t000000c000001400\nSeccomp:\t0\n",
	"proc/self/limits":                             "Limit                     Soft Limit           Hard Limit           Units\nMax processes             100                  100                  processes\nMax open files            1024                 100000               files\n",
	"proc/self/cgroup":                             "1:name=systemd:/x\n0::/system.slice/sluice.service\n",
	"proc/self/mountinfo":                          "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n23 22 0:22 / /sys/fs/bpf rw,nosuid shared:9 - bpf bpf rw,mode=700\n24 22 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
	"proc/sys/net/core/somaxconn":                  "4096\n",
	"proc/sys/net/core/bpf_jit_enable":             "1\n",
	"proc/sys/net/ipv4/ip_local_port_range":        "32768\t60999\n",
	"proc/sys/net/ipv4/ip_local_reserved_ports":    "\n",
	"proc/sys/net/ipv4/ip_unprivileged_port_start": "1024\n",
	"proc/sys/net/ipv4/tcp_migrate_req":            "0\n",
	"proc/sys/net/ipv4/tcp_rmem":                   "4096\t131072\t6291456\n",
	"proc/sys/net/ipv4/tcp_wmem":                   "4096\t16384\t4194304\n",
	"proc/sys/net/netfilter/nf_conntrack_max":      "262144\n",
	"proc/sys/net/netfilter/nf_conntrack_count":    "1000\n",
	"proc/sys/kernel/unprivileged_bpf_disabled":    "2\n",
	"sys/kernel/btf/vmlinux":                       "types",
	"sys/fs/bpf/sluice/default/1/identity":         "",
	"var/lib/sluice/table":                         "",
}

// free is a Bind to which every address is.
func free(netip.AddrPort, bool) error { return nil }

// hostOf is the good host with some files changed; a file of "gone" is not there.
func hostOf(changed files) *Host {
	all := maps.Clone(goodHost)
	maps.Copy(all, changed)
	m := fstest.MapFS{}
	for path, text := range all {
		if link, ok := strings.CutPrefix(text, "->"); ok {
			m[path] = &fstest.MapFile{Data: []byte(link), Mode: 0o777 | modeLink}
		} else if text != "gone" {
			m[path] = &fstest.MapFile{Data: []byte(text)}
		}
	}
	return &Host{FS: m, Kernel: Kernel{Release: "6.18.40"}, Writable: func(string) error { return nil }, Bind: free}
}

// planOf is the usual settings, with a change.
func planOf(change func(*Plan)) *Plan {
	p := &Plan{
		BPFDir: "/sys/fs/bpf/sluice", StateDir: "/var/lib/sluice", Workers: 2, Pipes: 64, FilesBeside: 1000,
		Listen: listenOn("10.0.0.1:8443"),
	}
	if change != nil {
		change(p)
	}
	return p
}

func listenOn(addrs ...string) func(context.Context) ([]netip.AddrPort, error) {
	var all []netip.AddrPort
	for _, a := range addrs {
		all = append(all, netip.MustParseAddrPort(a))
	}
	return func(context.Context) ([]netip.AddrPort, error) { return all, nil }
}

// one is the line of that name.
func one(t *testing.T, lines []Line, name string) Line {
	t.Helper()
	for _, l := range lines {
		if l.Name == name {
			return l
		}
	}
	t.Fatalf("no line %q among %+v", name, lines)
	return Line{}
}

// expect checks a line's level and that its texts have those words, and that it has a
// remedy just when it needs one.
func expect(t *testing.T, l Line, level Level, found, remedy string) {
	t.Helper()
	if l.Level != level || !strings.Contains(l.Found, found) || !strings.Contains(l.Remedy, remedy) {
		t.Errorf("%v %q -> %q, want %v %q -> %q", l.Level, l.Found, l.Remedy, level, found, remedy)
	}
	if (l.Level == OK) != (l.Remedy == "") {
		t.Errorf("%v with the remedy %q", l.Level, l.Remedy)
	}
	if strings.Contains(l.Found+l.Remedy, "\n") || strings.Contains(l.Found, "%!") || strings.Contains(l.Remedy, "%!") {
		t.Errorf("not a line: %q -> %q", l.Found, l.Remedy)
	}
}
