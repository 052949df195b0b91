package main

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/loader"
	"sluice/userspace/admission"
	"sluice/userspace/client"
	"sluice/userspace/gateway"
	"sluice/userspace/metrics"
	"sluice/userspace/mirror"
	"sluice/userspace/registration"
	"sluice/userspace/route"
	"sluice/userspace/sni"
)

// settings are the flags of the gateway.
type settings struct {
	config     string
	routes     string
	source     string // of Consul's: auto, xds or catalog
	client     client.Settings
	service    registration.Settings
	stateDir   string
	drainDelay time.Duration
	control    controlSettings

	path        string        // auto, splice or sockmap; empty: not said
	maxTableAge time.Duration // that a source may be away
	credit      sizeValue     // of the sockmap path, for a flow
	kernelFlows int           // on the sockmap path at a time
	localMode   string        // one of localModes
	pinned      mirror.Limits

	metricsRoutes int
	bpfDir        string // on bpffs
	instance      string // of the pins there
	unsafeKernel  bool
	dnsServer     netip.AddrPort
	metricsBind   string
	accessLog     string
	logFormat     string
	logLevel      slog.Level
	drain         time.Duration
	pipes         int
	gateway       gateway.Config
	limits        admission.Limits
}

func (s *settings) flags() *flag.FlagSet {
	fs := flag.NewFlagSet("gateway", flag.ContinueOnError)
	fs.StringVar(&s.config, "config", "", "Read settings from a `file` of HCL or JSON: the flags' names with _ for -.")
	s.sourceFlags(fs)
	s.client.Flags(fs)
	s.service.Flags(fs)
	s.listenFlags(fs)
	s.upstreamFlags(fs)
	s.pathFlags(fs)
	s.limitFlags(fs)
	s.logFlags(fs)
	s.control.flags(fs)
	return fs
}

func (s *settings) sourceFlags(fs *flag.FlagSet) {
	fs.StringVar(&s.routes, "routes", "", "Take routes and clusters from a `file` of HCL or JSON, and not from Consul. It is read again when it changes, and on SIGHUP.")
	fs.StringVar(&s.source, "source", "auto", "Take Consul's routes from this `source`: xds, catalog, or auto, which is xds when it answers.")
	fs.StringVar(&s.stateDir, "state-dir", "", "Keep Consul's last table in this `directory`, for a start while Consul is away. None: systemd's $STATE_DIRECTORY, if it is set.")
	fs.DurationVar(&s.maxTableAge, "max-table-age", 0, "Refuse all flows once Consul has not been heard for this `duration`, rather than go by a table that may be as old as that. 0: never.")
	fs.TextVar(&s.dnsServer, "dns-server", netip.AddrPort{}, "Resolve the host names of endpoints with the server at this `address`, such as 127.0.0.1:8600, instead of the system's.")
}

// processors is how many Go found that it may use.
var processors = runtime.GOMAXPROCS(0)

func (s *settings) listenFlags(fs *flag.FlagSet) {
	g := &s.gateway
	fs.Var(listValue[netip.AddrPort]{&g.Listen, parseListen}, "listen", "Accept on these `addresses`, separated by commas. \":8443\" is all of the host's, IPv4 and IPv6. None: those of the service in Consul, or with -routes \":8443\".")
	fs.IntVar(&g.Workers, "workers", processors, "Run this `number` of event loops.")
	fs.BoolVar(&g.SharePorts, "share-ports", false, "Listen even where another process does, to take over from it without a gap.")
	fs.Var(listValue[netip.Prefix]{&g.ProxyFrom, parsePrefix}, "proxy-from", "Peers in these `networks` must begin with a PROXY header (v1 or v2), which names the real source. All others must not.")
	fs.DurationVar(&g.HelloTimeout, "hello-timeout", 5*time.Second, "Close connections without a whole ClientHello after this `duration`.")
	g.HelloMax = sni.DefaultMax
	fs.Var((*sizeValue)(&g.HelloMax), "hello-max", "Refuse a ClientHello of more than this `size`, at most 64KiB.")
	fs.DurationVar(&s.drainDelay, "drain-delay", 2*time.Second, "On SIGTERM or SIGINT, go on accepting for this `duration` after Consul was told not to choose this gateway any more.")
	fs.DurationVar(&s.drain, "drain-timeout", time.Minute, "On SIGTERM or SIGINT, stop accepting and leave flows this `duration` to end before they are reset. A second signal resets them at once.")
}

func (s *settings) upstreamFlags(fs *flag.FlagSet) {
	g := &s.gateway
	fs.DurationVar(&g.ConnectTimeout, "connect-timeout", 5*time.Second, "Give up on an endpoint that has not answered in this `duration`, unless its cluster has its own.")
	fs.IntVar(&g.ConnectAttempts, "connect-attempts", 3, "Try this `number` of endpoints before the client is refused.")
	fs.DurationVar(&g.Socket.KeepaliveTime, "keepalive-time", time.Minute, "Probe peers that were silent for this `duration`. 0 switches it off.")
	fs.DurationVar(&g.Socket.KeepaliveInterval, "keepalive-interval", 10*time.Second, "Probe again after this `duration`.")
	fs.IntVar(&g.Socket.KeepaliveProbes, "keepalive-probes", 6, "Give a peer up after this `number` of probes.")
	fs.DurationVar(&g.Socket.UserTimeout, "user-timeout", 15*time.Minute, "Give a peer up that has not acknowledged, or not taken, anything for this `duration` while there was something to send. 0: the system's rule.")
	fs.DurationVar(&g.IdleTimeout, "idle-timeout", 0, "Reset flows that moved no byte for this `duration`. 0: never.")
	fs.DurationVar(&g.MaxLifetime, "max-lifetime", 0, "Reset flows older than this `duration`. 0: never.")
	fs.DurationVar(&g.RemovedGrace, "removed-grace", 0, "Reset flows to an endpoint that left the table after this `duration`. 0: they stay.")
}

func (s *settings) pathFlags(fs *flag.FlagSet) {
	fs.StringVar(&s.path, "path", "", "Carry flows by this `path` unless their route has its own: splice, sockmap, or auto, which begins with splice and moves flows that take turns to sockmap. None: sluice_path of the service in Consul, or else auto.")
	s.credit = 1 << 20
	fs.Var(&s.credit, "credit", "Let the kernel have this `size` of a flow's bytes on their way to a receiver, on the sockmap path.")
	fs.IntVar(&s.kernelFlows, "sockmap-flows", 65536, "Let this `number` of flows be on the sockmap path at a time, and as many on the local one. Each takes 256 bytes of the kernel's memory from the start; further ones take splice.")
	fs.StringVar(&s.bpfDir, "bpf-dir", loader.DefaultRoot, "Pin maps and programs below this `directory` of a BPF file system.")
	fs.StringVar(&s.instance, "instance", "default", "Pin under this `name`, for several gateways on a host.")
	fs.IntVar(&s.pinned.Routes, "pinned-routes", 0, "Make the pinned table large enough for this `number` of routes. 0: 32768.")
	fs.IntVar(&s.pinned.Clusters, "pinned-clusters", 0, "Make it large enough for this `number` of clusters. 0: 32768.")
	fs.IntVar(&s.pinned.Addresses, "pinned-addresses", 0, "Make it large enough for this `number` of addresses, of all clusters together. 0: 131072.")
	fs.BoolVar(&s.unsafeKernel, "unsafe-kernel", false, "Use sockmap, and local acceleration, on a kernel whose version is known to crash with it, because this one was patched.")
	fs.StringVar(&s.localMode, "local-acceleration", localOff, "Have the kernel write what clients and servers on this host send straight into the gateway's other socket, in this `mode`: off; on; force, which is on even where the kernel then misleads those processes, if they ask how many bytes wait to be read; or direct, which is force and, where client and server are both here, writes into the receiver's own queue, from which splice(2) does not read.")
	fs.IntVar(&s.pipes, "pipes", 0, "Keep at most this `number` of pipes per worker for flows whose receiver is slow. 0: 64.")
}

func (s *settings) limitFlags(fs *flag.FlagSet) {
	l := &s.limits
	fs.Var(listValue[netip.Prefix]{&l.Allow, parsePrefix}, "allow", "Serve only sources in these `networks`. None: all.")
	fs.Var(listValue[netip.Prefix]{&l.Deny, parsePrefix}, "deny", "Do not serve sources in these `networks`, even if allowed.")
	fs.IntVar(&l.MaxFlows, "max-flows", 0, "Serve at most this `number` of flows at a time. 0: as many as the limit of open files has room for.")
	fs.IntVar(&l.MaxPerRoute, "max-flows-per-route", 0, "Serve at most this `number` of flows of a route at a time, unless the route has its own limit. 0: no limit.")
	fs.IntVar(&l.MaxPerSource, "max-flows-per-source", 0, "Serve at most this `number` of flows of a source address (IPv6: of its /64) at a time. 0: no limit.")
	fs.Float64Var(&l.AcceptRate, "accept-rate", 0, "Serve at most this `number` of new flows per second. 0: no limit.")
	fs.IntVar(&l.AcceptBurst, "accept-burst", 0, "Serve up to this `number` of new flows at once before the rate counts. 0: the rate of a second.")
}

func (s *settings) logFlags(fs *flag.FlagSet) {
	fs.StringVar(&s.metricsBind, "metrics-bind", "", "Serve /metrics, /healthz and /readyz at this `address`, such as 127.0.0.1:9102.")
	fs.IntVar(&s.metricsRoutes, "metrics-routes", metrics.DefaultRoutes, "Give at most this `number` of routes metrics of their own, and count the others together.")
	fs.StringVar(&s.accessLog, "access-log", "stdout", "Write a line for each flow that has ended to this `place`: stdout, stderr, off, or a file, which is opened again on SIGHUP.")
	fs.StringVar(&s.logFormat, "log-format", "text", "Write logs in this `format`: text or json.")
	fs.TextVar(&s.logLevel, "log-level", slog.LevelInfo, "Write what is of this `level` or above: debug, info, warn or error.")
}

// check finds what no single flag can see.
func (s *settings) check() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	g := &s.gateway
	bad(s.routes != "" && (s.service.Register || s.source != "auto"), "-routes FILE is instead of Consul: give neither -register nor -source with it")
	bad(!slices.Contains([]string{"auto", "xds", "catalog"}, s.source), "-source must be auto, xds or catalog, not %q", s.source)
	if s.routes == "" {
		errs = append(errs, s.service.Check())
	}
	for i, addr := range g.Listen {
		bad(slices.Contains(g.Listen[:i], addr), "-listen names %s twice", addr)
	}
	bad(g.Workers < 1, "-workers must be at least 1")
	bad(g.ConnectAttempts < 1, "-connect-attempts must be at least 1")
	bad(g.HelloTimeout <= 0, "-hello-timeout must be more than 0")
	bad(g.ConnectTimeout <= 0, "-connect-timeout must be more than 0")
	bad(g.HelloMax < 512 || g.HelloMax > sni.LargestMax, "-hello-max must be between 512 and 64KiB")
	bad(g.Socket.KeepaliveTime > 0 && (g.Socket.KeepaliveInterval <= 0 || g.Socket.KeepaliveProbes < 1),
		"-keepalive-interval and -keepalive-probes must be more than 0")
	bad(s.path != "" && !slices.Contains(registration.Paths, s.path), "-path must be auto, splice or sockmap, not %q", s.path)
	bad(s.credit < route.MinCredit || s.credit > route.MaxCredit, "-credit must be between 64KiB and 65536KiB")
	bad(s.kernelFlows < 1 || s.kernelFlows > 1<<22, "-sockmap-flows must be between 1 and %d", 1<<22)
	bad(!slices.Contains(localModes, s.localMode), "-local-acceleration must be off, on, force or direct, not %q", s.localMode)
	bad(s.pinned.Routes < 0 || s.pinned.Clusters < 0 || s.pinned.Addresses < 0, "-pinned-routes, -pinned-clusters and -pinned-addresses must not be negative")
	bad(s.metricsRoutes < 1, "-metrics-routes must be at least 1")
	bad(s.logFormat != "text" && s.logFormat != "json", "-log-format must be text or json, not %q", s.logFormat)
	for _, d := range []struct {
		flag  string
		value time.Duration
	}{
		{"idle-timeout", g.IdleTimeout}, {"max-lifetime", g.MaxLifetime}, {"drain-timeout", s.drain}, {"max-table-age", s.maxTableAge},
		{"drain-delay", s.drainDelay}, {"removed-grace", g.RemovedGrace},
		{"keepalive-time", g.Socket.KeepaliveTime}, {"user-timeout", g.Socket.UserTimeout},
	} {
		bad(d.value < 0, "-%s must not be negative", d.flag)
	}
	return errors.Join(errs...)
}

// stateFile is where the last table is kept; empty for nowhere.
func (s *settings) stateFile() string {
	dir := s.stateDir
	if dir == "" {
		dir, _, _ = strings.Cut(os.Getenv("STATE_DIRECTORY"), ":")
	}
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, "table")
}

// listValue is a flag of several values, separated by commas. Given, it replaces
// the default.
type listValue[T fmt.Stringer] struct {
	list  *[]T
	parse func(string) ([]T, error)
}

func (v listValue[T]) String() string {
	if v.list == nil {
		return ""
	}
	var parts []string
	for _, item := range *v.list {
		parts = append(parts, item.String())
	}
	return strings.Join(parts, ",")
}

func (v listValue[T]) Set(text string) error {
	var list []T
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		items, err := v.parse(part)
		if err != nil {
			return err
		}
		list = append(list, items...)
	}
	*v.list = list
	return nil
}

func parseListen(text string) ([]netip.AddrPort, error) {
	if port, ok := strings.CutPrefix(text, ":"); ok {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%q is not a port", port)
		}
		return []netip.AddrPort{
			netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(n)),
			netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(n)),
		}, nil
	}
	addr, err := netip.ParseAddrPort(text)
	if err != nil {
		return nil, fmt.Errorf("%q is not an address with port, such as 10.0.0.1:8443 or [::]:8443", text)
	}
	return []netip.AddrPort{netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())}, nil
}

func parsePrefix(text string) ([]netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())}, nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return nil, fmt.Errorf("%q is neither an address nor a network such as 10.0.0.0/8", text)
	}
	return []netip.Prefix{p.Masked()}, nil
}

// sizeValue is a flag of a number of bytes, with or without KiB.
type sizeValue int

func (v *sizeValue) String() string {
	if *v > 0 && *v%1024 == 0 {
		return fmt.Sprintf("%dKiB", *v/1024)
	}
	return strconv.Itoa(int(*v))
}

func (v *sizeValue) Set(text string) error {
	number, unit := strings.TrimSuffix(text, "KiB"), 1
	if number != text {
		unit = 1024
	}
	n, err := strconv.ParseUint(number, 10, 31-10)
	if err != nil {
		return fmt.Errorf("%q is not a size such as 16KiB or 16384", text)
	}
	*v = sizeValue(int(n) * unit)
	return nil
}
