package dns

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"sluice/userspace/route"
)

// running is a resolver at work, and the tables that it published.
type running struct {
	*Resolver
	t    *testing.T
	logs *buffer

	mu     sync.Mutex
	tables []*route.Table
	first  time.Time
}

// run starts a resolver that asks s. It is quick to retry, and takes its time
// otherwise, so that what a test waits for does not come by a time-out.
func run(t *testing.T, s *server, change func(*Options)) *running {
	t.Helper()
	r := &running{t: t, logs: new(buffer)}
	opt := Options{
		Log:       slog.New(slog.NewTextHandler(r.logs, nil)),
		MinTTL:    10 * time.Millisecond,
		MaxTTL:    time.Hour,
		FirstWait: time.Hour,
		Wait:      time.Hour,
		RetryMin:  10 * time.Millisecond,
		RetryMax:  20 * time.Millisecond,
	}
	if s != nil {
		opt.Server = s.addr
	}
	if change != nil {
		change(&opt)
	}
	r.Resolver = New(opt, func(table *route.Table) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.tables) == 0 {
			r.first = time.Now()
		}
		r.tables = append(r.tables, table)
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Error("Run did not end")
		}
		if t.Failed() {
			t.Log(r.logs.String())
		}
	})
	return r
}

// published is all tables so far.
func (r *running) published() []*route.Table {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.tables)
}

// wait waits for a table, and returns the last.
func (r *running) wait(what string, is func(*route.Table) bool) *route.Table {
	r.t.Helper()
	var last *route.Table
	eventually(r.t, what, func() bool {
		all := r.published()
		if len(all) == 0 {
			return false
		}
		last = all[len(all)-1]
		return is(last)
	})
	return last
}

// want waits until the first endpoint of a cluster has these addresses.
func (r *running) want(cluster string, addrs ...string) *route.Table {
	r.t.Helper()
	return r.wait(cluster+" at "+strings.Join(addrs, " "), func(table *route.Table) bool {
		return slices.Equal(at(table, cluster), addrs)
	})
}

// at is where the first endpoint of a cluster is.
func at(table *route.Table, cluster string) []string {
	var out []string
	if c := table.Cluster(cluster); c != nil {
		for _, a := range c.Endpoints[0].Addrs {
			out = append(out, a.String())
		}
	}
	return out
}

// logged is how often a line with this text was logged.
func (r *running) logged(text string) int { return strings.Count(r.logs.String(), text) }

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// table makes one with a route and a cluster for each of the arguments, which are
// "cluster=host:port".
func table(t *testing.T, prev *route.Table, clusters ...string) *route.Table {
	t.Helper()
	b := route.NewBuilder(nil, "test")
	if prev != nil {
		b = route.NewBuilder(prev, "test")
	}
	b.At("index 7")
	keep := map[string]bool{}
	for _, c := range clusters {
		name, address, _ := strings.Cut(c, "=")
		keep[name] = true
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		e := route.Endpoint{Host: host, Port: 443}
		if addr, err := netip.ParseAddrPort(address); err == nil {
			e = route.Endpoint{Addrs: []netip.AddrPort{addr}}
		}
		if err := b.PutCluster(&route.Cluster{Name: name, Endpoints: []route.Endpoint{e}}); err != nil {
			t.Fatal(err)
		}
		if err := b.PutRoute(&route.Route{Name: name + ".test", Cluster: name}); err != nil {
			t.Fatal(err)
		}
	}
	if prev != nil {
		for c := range prev.Clusters() {
			if !keep[c.Name] {
				b.DeleteRoute(c.Name + ".test")
				b.DeleteCluster(c.Name)
			}
		}
	}
	out, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func ips(s ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func TestNoHosts(t *testing.T) {
	r := run(t, nil, nil)
	for _, in := range []*route.Table{
		table(t, nil, "a=192.0.2.1:443"),
		table(t, nil, "a=192.0.2.2:443"),
		table(t, nil),
	} {
		r.Apply(in)
		r.wait("the same table", func(out *route.Table) bool { return out == in })
	}
}

func TestBothFamilies(t *testing.T) {
	s := newServer(t)
	s.set("api.test.", zone{addrs: ips("192.0.2.2", "192.0.2.1", "2001:db8::1")})
	r := run(t, s, nil)
	r.Apply(table(t, nil, "a=API.test.:443"))
	r.want("a", "192.0.2.1:443", "192.0.2.2:443", "[2001:db8::1]:443")
	if n := len(r.published()); n != 1 {
		t.Errorf("%d tables published, want 1, with all there is", n)
	}
}

func TestSharedName(t *testing.T) {
	s := newServer(t)
	s.set("api.test.", zone{addrs: ips("192.0.2.1")})
	r := run(t, s, nil)
	r.Apply(table(t, nil, "a=api.test.:443", "b=api.test.:443", "c=API.test.:443", "d=192.0.2.9:1"))
	out := r.want("a", "192.0.2.1:443")
	for _, c := range []string{"b", "c"} {
		if got := at(out, c); !slices.Equal(got, []string{"192.0.2.1:443"}) {
			t.Errorf("cluster %s is at %v", c, got)
		}
	}
	if got := at(out, "d"); !slices.Equal(got, []string{"192.0.2.9:1"}) {
		t.Errorf("the cluster with an address is at %v", got)
	}
	if n := len(s.times("api.test.")); n != 1 {
		t.Errorf("asked %d times for a name in three clusters", n)
	}
}

func TestHostsFile(t *testing.T) {
	s := newServer(t) // that knows nothing
	r := run(t, s, nil)
	r.Apply(table(t, nil, "a=localhost:443"))
	out := r.wait("an address", func(out *route.Table) bool { return len(at(out, "a")) > 0 })
	for _, a := range out.Cluster("a").Endpoints[0].Addrs {
		if !a.Addr().IsLoopback() {
			t.Errorf("localhost is at %v", a)
		}
	}
	if n := len(s.times("localhost.")); n != 0 {
		t.Errorf("the server was asked for localhost %d times", n)
	}
}

func TestTTL(t *testing.T) {
	s := newServer(t)
	s.set("short.test.", zone{addrs: ips("192.0.2.1"), ttl: 1})
	s.set("long.test.", zone{addrs: ips("192.0.2.2"), ttl: 3000})
	s.set("alias.test.", zone{addrs: ips("192.0.2.3"), ttl: 3000, alias: "real.test.", aliasTTL: 1})
	r := run(t, s, nil)
	r.Apply(table(t, nil, "a=short.test.:443", "b=long.test.:443", "c=alias.test.:443"))
	eventually(t, "names with a TTL of 1 s are asked again", func() bool {
		return len(s.times("short.test.")) >= 3 && len(s.times("alias.test.")) >= 3
	})
	if n := len(s.times("long.test.")); n != 1 {
		t.Errorf("asked %d times in a few seconds for a name with a TTL of 3000 s", n)
	}
	// Times are taken at the server, where a busy machine may shorten a pause. The
	// next query cannot come before the answer to the last was sent.
	asked := s.times("short.test.")
	if total := asked[2].Sub(asked[0]); total < 2*time.Second-100*time.Millisecond {
		t.Errorf("asked three times in %v with a TTL of 1 s", total)
	}
	if n := len(r.published()); n != 1 {
		t.Errorf("%d tables published, though no address changed", n)
	}
}

func TestAddressesChange(t *testing.T) {
	s := newServer(t)
	s.set("api.test.", zone{addrs: ips("192.0.2.1"), ttl: 1})
	s.set("other.test.", zone{addrs: ips("192.0.2.9")})
	r := run(t, s, func(o *Options) { o.MaxTTL = 10 * time.Millisecond })
	r.Apply(table(t, nil, "a=api.test.:443", "b=other.test.:443"))
	before := r.want("a", "192.0.2.1:443")
	load := before.Cluster("a").Endpoints[0].Load

	s.set("api.test.", zone{addrs: ips("192.0.2.1", "2001:db8::1"), ttl: 1})
	r.want("a", "192.0.2.1:443", "[2001:db8::1]:443")
	s.set("api.test.", zone{addrs: ips("192.0.2.7"), ttl: 1})
	after := r.want("a", "192.0.2.7:443")
	if after.Cluster("b") != before.Cluster("b") || after.Version() <= before.Version() {
		t.Error("the cluster that did not change was made anew")
	}
	if after.Cluster("a").Endpoints[0].Load != load {
		t.Error("the endpoint's live counts were lost")
	}
	if _, c := after.Lookup([]byte("a.test")); c != after.Cluster("a") {
		t.Error("the route does not lead to the new cluster")
	}
}

// TestRotation has a server that shuffles its answers: nothing changed.
func TestRotation(t *testing.T) {
	s := newServer(t)
	s.set("api.test.", zone{addrs: ips("192.0.2.1", "192.0.2.2")})
	r := run(t, s, func(o *Options) { o.MaxTTL = 10 * time.Millisecond })
	r.Apply(table(t, nil, "a=api.test.:443"))
	r.want("a", "192.0.2.1:443", "192.0.2.2:443")
	s.set("api.test.", zone{addrs: ips("192.0.2.2", "192.0.2.1", "192.0.2.2")})
	asked := len(s.times("api.test."))
	eventually(t, "asked more often", func() bool { return len(s.times("api.test.")) > asked+3 })
	if n := len(r.published()); n != 1 {
		t.Errorf("%d tables published, though no address changed", n)
	}
}

// TestFailuresKeepAddresses has all ways in which a name that resolved stops to.
func TestFailuresKeepAddresses(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail func(*server)
		log  string
	}{
		{"no such name", func(s *server) { s.remove("api.test.") }, "no such host"},
		{"no address", func(s *server) { s.set("api.test.", zone{}) }, "no such host"},
		{"server failure", func(s *server) { s.set("api.test.", zone{rcode: dnsmessage.RCodeServerFailure}) }, "server misbehaving"},
		{"refused", func(s *server) { s.set("api.test.", zone{rcode: dnsmessage.RCodeRefused}) }, "server misbehaving"},
		{"blocked", func(s *server) { s.set("api.test.", zone{addrs: ips("0.0.0.0", "::")}) }, errNoAddress.Error()},
		{"no answer", func(s *server) { s.set("api.test.", zone{mute: true}) }, "timeout"},
		{"no server", (*server).stop, "connection refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t)
			s.set("api.test.", zone{addrs: ips("192.0.2.1", "2001:db8::1")})
			r := run(t, s, func(o *Options) { o.MaxTTL = 10 * time.Millisecond; o.Attempt = 200 * time.Millisecond })
			r.Apply(table(t, nil, "a=api.test.:443"))
			r.want("a", "192.0.2.1:443", "[2001:db8::1]:443")
			tt.fail(s)
			eventually(t, "the failure is logged", func() bool { return r.logged("does not resolve") > 0 })
			if r.logged(tt.log) == 0 || r.logged("127.0.0.1:53:") > 0 { // another server
				t.Errorf("the log does not say %q", tt.log)
			}
			if tt.name == "no server" {
				s.restart()
			}
			s.set("api.test.", zone{addrs: ips("192.0.2.2")})
			r.want("a", "192.0.2.2:443")
			eventually(t, "the end of the failure is logged", func() bool { return r.logged("resolves again") > 0 })
			for _, table := range r.published() {
				if len(at(table, "a")) == 0 {
					t.Error("a table without addresses was published")
				}
			}
		})
	}
}

// TestLogOfFailures has a name fail many times: that is one line.
func TestLogOfFailures(t *testing.T) {
	s := newServer(t)
	r := run(t, s, nil)
	r.Apply(table(t, nil, "a=none.test.:443"))
	eventually(t, "asked some times", func() bool { return len(s.times("none.test.")) > 5 })
	if n := r.logged("does not resolve"); n != 1 {
		t.Errorf("logged %d times that the name does not resolve", n)
	}
	if n := len(r.published()); n != 1 {
		t.Errorf("%d tables published, want 1", n)
	}
}

// TestHalfAnAnswer has a server that stops to answer for AAAA records: the old ones
// stay beside the new A records.
func TestHalfAnAnswer(t *testing.T) {
	for name, broken := range map[string]zone{
		"server failure": {v6: dnsmessage.RCodeServerFailure},
		"no answer":      {muteV6: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.set("api.test.", zone{addrs: ips("192.0.2.1", "2001:db8::1")})
			r := run(t, s, func(o *Options) { o.MaxTTL = 10 * time.Millisecond; o.Attempt = 200 * time.Millisecond })
			r.Apply(table(t, nil, "a=api.test.:443"))
			r.want("a", "192.0.2.1:443", "[2001:db8::1]:443")
			broken.addrs = ips("192.0.2.2", "2001:db8::2")
			s.set("api.test.", broken)
			r.want("a", "192.0.2.2:443", "[2001:db8::1]:443")
			s.set("api.test.", zone{addrs: ips("192.0.2.2")})
			r.want("a", "192.0.2.2:443")
			if r.logged("resolves in part") == 0 {
				t.Error("the log does not tell")
			}
		})
	}
}

// TestNeverV6 has a server that never answers for AAAA records, as some do.
func TestNeverV6(t *testing.T) {
	s := newServer(t)
	s.set("api.test.", zone{addrs: ips("192.0.2.1"), muteV6: true})
	r := run(t, s, func(o *Options) { o.Attempt = 100 * time.Millisecond })
	r.Apply(table(t, nil, "a=api.test.:443"))
	r.want("a", "192.0.2.1:443")
}

func TestTruncated(t *testing.T) {
	s := newServer(t)
	var many []netip.Addr
	var want []string
	for i := range 200 {
		a := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
		many = append(many, a)
		want = append(want, netip.AddrPortFrom(a, 443).String())
	}
	for _, drip := range []bool{false, true} {
		s.set("many.test.", zone{addrs: many, ttl: 1, drip: drip})
		r := run(t, s, nil)
		r.Apply(table(t, nil, "a=many.test.:443"))
		r.want("a", want...)
		// The TTL of 1 s came over TCP; without it, it would be 30 s.
		asked := len(s.times("many.test."))
		eventually(t, "asked again", func() bool { return len(s.times("many.test.")) > asked })
		if r.logged("in part") > 0 {
			t.Error("a truncated answer was not taken for whole after TCP")
		}
	}
}

func TestBackOff(t *testing.T) {
	r := New(Options{MinTTL: time.Second, MaxTTL: time.Minute, UnknownTTL: 30 * time.Second, RetryMin: time.Second, RetryMax: 10 * time.Second}, nil)
	for _, tt := range []struct {
		name      string
		state     state
		failures  int
		answer    answer
		low, high time.Duration
	}{
		{"good", good, 3, answer{hasTTL: true, ttl: 7 * time.Second}, 7 * time.Second, 7 * time.Second},
		{"TTL 0", good, 0, answer{hasTTL: true}, time.Second, time.Second},
		{"TTL of a day", good, 0, answer{hasTTL: true, ttl: 24 * time.Hour}, time.Minute, time.Minute},
		{"no TTL", good, 0, answer{}, 30 * time.Second, 30 * time.Second},
		{"first failure", failed, 0, answer{}, time.Second / 2, time.Second},
		{"third", failed, 2, answer{}, 2 * time.Second, 4 * time.Second},
		{"many", failed, 1000, answer{}, 5 * time.Second, 10 * time.Second},
		{"in part, short TTL", partial, 1000, answer{hasTTL: true, ttl: 2 * time.Second}, 2 * time.Second, 2 * time.Second},
		{"in part", partial, 0, answer{hasTTL: true, ttl: time.Minute}, time.Second / 2, time.Second},
	} {
		for range 100 {
			h := &host{state: tt.state, failures: tt.failures}
			if got := r.delay(h, tt.answer); got < tt.low || got > tt.high {
				t.Errorf("%s: %v, want %v to %v", tt.name, got, tt.low, tt.high)
			}
			if want := tt.failures + 1; tt.state != good && h.failures != want || tt.state == good && h.failures != 0 {
				t.Errorf("%s: %d failures", tt.name, h.failures)
			}
		}
	}
}

func TestDefaults(t *testing.T) {
	got := fmt.Sprintf("%+v", Options{Log: slog.Default()}.withDefaults())
	want := fmt.Sprintf("%+v", Options{
		Log: slog.Default(), MinTTL: time.Second, MaxTTL: 5 * time.Minute, UnknownTTL: 30 * time.Second,
		FirstWait: 2 * time.Second, Wait: 500 * time.Millisecond,
		Attempt: 2 * time.Second, Timeout: 15 * time.Second, RetryMin: time.Second, RetryMax: 30 * time.Second, Lookups: 16,
	})
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
