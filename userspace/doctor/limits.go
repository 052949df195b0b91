package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"
)

const (
	// fewFlows is how many flows a gateway should have room for: Envoy's have 1,024
	// to a remote datacenter, which large meshes meet.
	fewFlows = 4096
	// fullTable is the part of conntrack's table, in percent, above which a burst
	// may fill it.
	fullTable = 80
	// longRTT, in seconds, is that of the example by which buffers are judged: once
	// around half of the world.
	longRTT = 0.1
	// leastBuffer carries some 300 Mbit/s over longRTT.
	leastBuffer = 4 << 20
)

// files looks whether the limit of open files has room for the flows: a gateway raises
// its own up to the hard one.
func (h *Host) files(p *Plan) Line {
	const name = "open files"
	limit, who, err := h.hardFiles()
	if err != nil {
		return Bad(Warn, name, "see ulimit -Hn", "the limit cannot be read: %v", err)
	}
	remedy := func(n int) string { return fmt.Sprintf("systemd: LimitNOFILE=%d; elsewhere ulimit -Hn %d", n, n) }
	// Two for each flow. A slow receiver's flow may hold a pipe too, two again, of which
	// each worker has so many; the rest of FilesBeside is for listeners, logs and such.
	pipes := 2 * p.Workers * p.Pipes
	beside := max(p.FilesBeside, pipes+p.FilesBeside/5)
	flows := p.Flows
	if flows == 0 {
		flows = (limit - p.FilesBeside) / 2
	}
	need := 2*flows + beside
	switch {
	case limit < p.FilesBeside+2:
		return Bad(Fail, name, remedy(2*fewFlows+beside), "%d %s, too few to start", limit, who)
	case need > limit && p.Flows == 0:
		return Bad(Warn, name, fmt.Sprintf("-max-flows=%d, or fewer -pipes", max(1, (limit-beside)/2)),
			"%d %s: room for %d flows, but none then for all pipes (%d)", limit, who, flows, pipes)
	case need > limit:
		return Bad(Fail, name, remedy(need), "%d %s, and -max-flows=%d takes %d: two for each, %d pipes, and what is beside",
			limit, who, flows, need, pipes/2)
	case flows < fewFlows && p.Flows == 0:
		return Bad(Warn, name, remedy(2*fewFlows+beside), "%d %s: room for %d flows", limit, who, flows)
	}
	return Good(name, "%d %s: room for %d flows", limit, who, flows)
}

func (h *Host) hardFiles() (limit int, who string, err error) {
	dir, who := h.process()
	b, err := fs.ReadFile(h.FS, dir+"/limits")
	if err != nil {
		return 0, who, err
	}
	for line := range strings.Lines(string(b)) {
		value, ok := strings.CutPrefix(line, "Max open files")
		f := strings.Fields(value)
		if !ok || len(f) < 2 {
			continue
		}
		if f[1] == "unlimited" {
			return math.MaxInt32, who, nil
		}
		limit, err = strconv.Atoi(f[1])
		return limit, who, err
	}
	return 0, who, errors.New("no limit of open files in " + dir + "/limits")
}

// settings looks at those of the kernel that make a difference to a gateway.
func (h *Host) settings(ctx context.Context, p *Plan) []Line {
	lines := []Line{h.backlog(), h.migration(p), h.localPorts(ctx, p), h.buffers("net.ipv4.tcp_rmem"), h.buffers("net.ipv4.tcp_wmem")}
	if l, ok := h.conntrack(p); ok {
		lines = append(lines, l)
	}
	return append(lines, h.jit(p), h.unprivileged())
}

func (h *Host) backlog() Line {
	const name, least = "net.core.somaxconn", 1024
	n, err := h.number(name)
	if err != nil {
		return unread(name, err)
	}
	if n < least {
		return Bad(Warn, name, "sysctl -w "+name+"=4096", "%d: more new connections than these at once wait a second and more", n)
	}
	return Good(name, "%d", n)
}

func (h *Host) migration(p *Plan) Line {
	const name = "net.ipv4.tcp_migrate_req"
	n, err := h.number(name)
	switch {
	case err != nil:
		return unread(name, err)
	case n == 0 && p.SharePorts:
		return Bad(Warn, name, "sysctl -w "+name+"=1",
			"0: clients that have connected but not spoken yet are reset when a gateway ends, though another one shares its port")
	case n == 0:
		return Good(name, "0; it matters with -share-ports only")
	}
	return Good(name, "%d", n)
}

// localPorts: connections from one address to one endpoint differ by their port only.
// And a port that is listened on should not be one of those that are given out.
func (h *Host) localPorts(ctx context.Context, p *Plan) Line {
	const name = "net.ipv4.ip_local_port_range"
	r, err := h.numbers(name, 2)
	if err != nil {
		return unread(name, err)
	}
	reserved, _ := h.sysctl("net.ipv4.ip_local_reserved_ports")
	addrs, _ := p.Listen(ctx) // which have lines of their own
	for _, a := range addrs {
		if port := int(a.Port()); port >= r[0] && port <= r[1] && !reservedPort(reserved, port) {
			return Bad(Warn, name, "sysctl -w net.ipv4.ip_local_reserved_ports="+strings.TrimPrefix(reserved+","+strconv.Itoa(port), ","),
				"%d to %d: with port %d among them, a connection of this host may have it when the gateway starts", r[0], r[1], port)
		}
	}
	n := r[1] - r[0] + 1
	switch {
	case p.Flows > n:
		return Bad(Warn, name, "sysctl -w "+name+`="10240 65535"`+"; or more endpoints",
			"%d to %d: at most %d flows to one endpoint at a time, and -max-flows is %d", r[0], r[1], n, p.Flows)
	case n < fewFlows:
		return Bad(Warn, name, "sysctl -w "+name+`="32768 60999"`, "%d to %d: at most %d flows to one endpoint at a time", r[0], r[1], n)
	}
	return Good(name, "%d to %d: %d flows to one endpoint at a time", r[0], r[1], n)
}

// reservedPort tells whether a list such as "8080,9000-9100" has the port.
func reservedPort(list string, port int) bool {
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		a, errA := strconv.Atoi(from)
		b, errB := strconv.Atoi(to)
		if errA == nil && errB == nil && port >= a && port <= b {
			return true
		}
	}
	return false
}

// buffers looks at what a socket's buffer may grow to: a stream has no more than that on
// its way in the time that a packet goes there and back.
func (h *Host) buffers(name string) Line {
	v, err := h.numbers(name, 3)
	if err != nil {
		return unread(name, err)
	}
	rate := fmt.Sprintf("at most %d, so %.0f Mbit/s of a flow over %.0f ms", v[2], float64(v[2])*8/longRTT/1e6, longRTT*1000)
	if v[2] < leastBuffer {
		return Bad(Warn, name, fmt.Sprintf(`sysctl -w %s="%d %d %d"`, name, v[0], v[1], 4*leastBuffer), "%s", rate)
	}
	return Good(name, "%s", rate)
}

// conntrack says nothing where connections are not tracked.
func (h *Host) conntrack(p *Plan) (Line, bool) {
	const name = "net.netfilter.nf_conntrack_max"
	most, err := h.number(name)
	if err != nil {
		return unread(name, err), !errors.Is(err, fs.ErrNotExist)
	}
	n, err := h.number("net.netfilter.nf_conntrack_count")
	if err != nil {
		return unread("net.netfilter.nf_conntrack_count", err), true
	}
	remedy := func(n int) string {
		return fmt.Sprintf("sysctl -w %s=%d; or no tracking (notrack) of the gateway's ports", name, n)
	}
	switch {
	case n*100 > most*fullTable:
		return Bad(Warn, name, remedy(2*most), "%d of %d connections are tracked: new ones are dropped when it is full", n, most), true
	case 2*p.Flows > most: // both sides of a flow
		return Bad(Warn, name, remedy(3*p.Flows), "%d connections, and -max-flows=%d makes two for each", most, p.Flows), true
	}
	return Good(name, "%d of %d connections are tracked", n, most), true
}

func (h *Host) jit(p *Plan) Line {
	const name = "net.core.bpf_jit_enable"
	n, err := h.number(name)
	switch {
	case err != nil:
		return unread(name, err)
	case n == 0:
		return Bad(min(Warn, p.kernelPath()), name, "sysctl -w "+name+"=1", "0: programs are interpreted, and slow")
	}
	return Good(name, "%d", n)
}

func (h *Host) unprivileged() Line {
	const name = "kernel.unprivileged_bpf_disabled"
	n, err := h.number(name)
	switch {
	case err != nil:
		return unread(name, err)
	case n == 0:
		return Good(name, "0: every user may load programs; Sluice does not need that, and 2 is safer")
	}
	return Good(name, "%d", n)
}
