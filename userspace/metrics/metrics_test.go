package metrics

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
	"sluice/userspace/route"
)

// TestLint holds the names to Prometheus' rules.
func TestLint(t *testing.T) {
	m := new(world).metrics()
	m.Handler() // has some of its own
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestFromTheStart finds every reason, path and result at 0 before anything has
// happened.
func TestFromTheStart(t *testing.T) {
	got := values(t, new(world).metrics())
	want := []string{
		"sluice_path_flows_total splice",
		"sluice_table_reloads_total ok", "sluice_table_reloads_total error",
		"sluice_connect_attempts_total", "sluice_accesslog_dropped_total",
		"sluice_bytes_total sent", "sluice_bytes_total received", "sluice_flows_active",
		"sluice_hello_seconds_count", "sluice_connect_seconds_count", "sluice_flow_seconds_count",
	}
	for _, end := range flow.Ends() {
		want = append(want, "sluice_flows_total "+end.String())
		if end.Refused() {
			want = append(want, "sluice_refusals_total "+end.String())
		}
	}
	for _, reason := range []string{"refused", "reset", "timeout", "unreachable", "no_resources", "other"} {
		want = append(want, "sluice_connect_failures_total "+reason)
	}
	for _, reason := range []string{"emfile", "enfile", "enobufs", "enomem", "aborted", "other"} {
		want = append(want, "sluice_accept_errors_total "+reason)
	}
	for _, name := range want {
		if v, ok := got[name]; !ok || v != 0 {
			t.Errorf("%s: %v (there: %v)", name, v, ok)
		}
	}
	for name := range got {
		for _, labelled := range []string{"sluice_flows_total", "sluice_refusals_total", "sluice_connect_failures_total", "sluice_accept_errors_total"} {
			if strings.HasPrefix(name, labelled) && !slices.Contains(want, name) {
				t.Errorf("%s: not expected", name)
			}
		}
	}
	if v := got["sluice_build_info "+runtime.Version()+" v1.2.3"]; v != 1 {
		t.Errorf("no build info: %v", got)
	}
}

func TestEnded(t *testing.T) {
	onCarried := map[string]float64{
		"sluice_path_flows_total splice": 1,
		"sluice_hello_seconds_count":     1, "sluice_hello_seconds_sum": 2,
		"sluice_connect_seconds_count": 1, "sluice_connect_seconds_sum": 4,
		"sluice_flow_seconds_count": 1, "sluice_flow_seconds_sum": 8,
	}
	for _, end := range flow.Ends() {
		t.Run(end.String(), func(t *testing.T) {
			m := new(world).metrics()
			before := values(t, m)
			want := map[string]float64{"sluice_flows_total " + end.String(): 1}
			f := carried()
			if end.Refused() {
				f = &flow.Flow{Duration: time.Second}
				want["sluice_refusals_total "+end.String()] = 1
			} else {
				for name, v := range onCarried {
					want[name] = v
				}
			}
			f.End = end
			m.Ended(f)
			expectChange(t, before, values(t, m), want)
		})
	}
}

func TestEndedOtherwise(t *testing.T) {
	m := new(world).metrics()
	before := values(t, m)
	m.Ended(&flow.Flow{})         // ended without a reason
	m.Ended(&flow.Flow{End: 255}) // or with one that there is not
	expectChange(t, before, values(t, m), nil)

	// A hello that was read counts, even when what follows it is a refusal.
	m.Ended(&flow.Flow{End: flow.UnknownName, HelloIn: time.Second, Duration: time.Second})
	expectChange(t, before, values(t, m), map[string]float64{
		"sluice_flows_total unknown_name": 1, "sluice_refusals_total unknown_name": 1,
		"sluice_hello_seconds_count": 1, "sluice_hello_seconds_sum": 1,
	})

	// Paths that come later have a count of their own.
	f := carried()
	f.Path = "sockmap"
	m.Ended(f)
	if v := values(t, m)["sluice_path_flows_total sockmap"]; v != 1 {
		t.Errorf("%v flows by sockmap", v)
	}
}

func TestConnects(t *testing.T) {
	tests := map[string][]error{
		"refused":      {unix.ECONNREFUSED},
		"reset":        {unix.ECONNRESET},
		"timeout":      {unix.ETIMEDOUT},
		"unreachable":  {unix.EHOSTUNREACH, unix.ENETUNREACH},
		"no_resources": {unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.EADDRNOTAVAIL},
		"other":        {unix.EPIPE, unix.EINVAL, unix.Errno(0), errors.New("some other"), nil},
	}
	m := new(world).metrics()
	for reason, errs := range tests {
		before, n := values(t, m), 0.0
		for _, err := range errs {
			m.ConnectAttempt()
			for _, err := range wrappings(err) {
				m.ConnectFailure(err)
				n++
			}
		}
		expectChange(t, before, values(t, m), map[string]float64{
			"sluice_connect_attempts_total":           float64(len(errs)),
			"sluice_connect_failures_total " + reason: n,
		})
	}
}

func TestAcceptErrors(t *testing.T) {
	tests := map[string]error{
		"emfile": unix.EMFILE, "enfile": unix.ENFILE, "enobufs": unix.ENOBUFS,
		"enomem": unix.ENOMEM, "aborted": unix.ECONNABORTED, "other": unix.EPERM,
	}
	m := new(world).metrics()
	for reason, err := range tests {
		before := values(t, m)
		for _, err := range wrappings(err) {
			m.AcceptError(err)
		}
		expectChange(t, before, values(t, m), map[string]float64{
			"sluice_accept_errors_total " + reason: float64(len(wrappings(err))),
		})
	}
}

// wrappings are err and the ways in which it may come.
func wrappings(err error) []error {
	if err == nil {
		return []error{nil}
	}
	return []error{
		err,
		os.NewSyscallError("connect", err),
		fmt.Errorf("connect to 192.0.2.1:443: %w", fmt.Errorf("connect: %w", err)),
		errors.Join(errors.New("something else"), err),
	}
}

func TestReloads(t *testing.T) {
	m := new(world).metrics()
	before := values(t, m)
	m.Reloaded(nil)
	m.Reloaded(nil)
	m.Reloaded(errors.New("bad file"))
	expectChange(t, before, values(t, m), map[string]float64{"sluice_table_reloads_total ok": 2, "sluice_table_reloads_total error": 1})
}

// TestSources reads what is not counted here, at each look anew, and both
// directions of the bytes at once.
func TestSources(t *testing.T) {
	w := new(world)
	m := w.metrics()
	before := values(t, m)
	reads := w.reads.Load()
	w.active.Store(9000)
	w.sent.Store(1 << 52)
	w.received.Store(7)
	w.lost.Store(3)
	why := "draining"
	w.unready.Store(&why)
	w.draining.Store(true)
	after := values(t, m)
	expectChange(t, before, after, map[string]float64{
		"sluice_flows_active": 9000, "sluice_accesslog_dropped_total": 3, "sluice_ready": -1, "sluice_draining": 1,
		"sluice_bytes_total sent": 1 << 52, "sluice_bytes_total received": 7,
	})
	if n := w.reads.Load() - reads; n != 1 {
		t.Errorf("the bytes were read %d times for one look", n)
	}
}

func TestTable(t *testing.T) {
	w := &world{age: time.Minute}
	m := w.metrics()
	before := values(t, m)
	for _, name := range []string{"version", "routes", "clusters", "age_seconds"} {
		if v, ok := before["sluice_table_"+name]; !ok || v != 0 {
			t.Errorf("no table, and its %s is %v (there: %v)", name, v, ok)
		}
	}
	b := route.NewBuilder(nil, "test")
	err := errors.Join(
		b.PutCluster(&route.Cluster{Name: "a", Endpoints: []route.Endpoint{{Addrs: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1")}, Weight: 1}}}),
		b.PutRoute(&route.Route{Name: "a.test", Cluster: "a"}),
		b.PutRoute(&route.Route{Name: "b.test", Cluster: "a"}),
	)
	if err != nil {
		t.Fatal(err)
	}
	table, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	w.table.Swap(table)
	expectChange(t, before, values(t, m), map[string]float64{
		"sluice_table_version": float64(table.Version()), "sluice_table_routes": 2, "sluice_table_clusters": 1, "sluice_table_age_seconds": 60,
	})
	if table.Version() == 0 {
		t.Error("a table's version cannot be told from none")
	}
}

// TestSource: how long Consul was silent counts from when it was heard last.
func TestSource(t *testing.T) {
	w := &world{connected: true, since: time.Now().Add(-time.Hour)}
	m := w.metrics()
	heard := values(t, m)
	if heard["sluice_source_connected"] != 1 || heard["sluice_source_silent_seconds"] != 0 || heard["sluice_table_kept_clusters"] != 3 {
		t.Errorf("while Consul is heard: %v", heard)
	}
	w.connected = false
	silent := values(t, m)
	if silent["sluice_source_connected"] != 0 || silent["sluice_source_silent_seconds"] < 3600 {
		t.Errorf("an hour later: %v", silent)
	}
	w.since = time.Time{} // never heard
	if s := values(t, m)["sluice_source_silent_seconds"]; s != 0 {
		t.Errorf("never heard, and silent for %v s", s)
	}
}

func TestSockmap(t *testing.T) {
	w := &world{}
	m := w.metrics()
	before := values(t, m)
	if on, ok := before["sluice_sockmap_on"]; !ok || on != 0 {
		t.Errorf("without the path it is %v (there: %v)", on, ok)
	}
	w.sockmap = Sockmap{Why: "self-test: overlap", Fallbacks: map[string]uint64{"full": 0}, Pieces: map[string]uint64{"redirected": 0}}
	before = values(t, m)
	if before["sluice_sockmap_off self-test: overlap"] != 1 {
		t.Errorf("the reason is not told: %v", before)
	}
	delete(before, "sluice_sockmap_off self-test: overlap") // gone when it is on
	w.sockmap = Sockmap{On: true, Broken: 2, Fallbacks: map[string]uint64{"full": 3}, Pieces: map[string]uint64{"redirected": 4}}
	expectChange(t, before, values(t, m), map[string]float64{
		"sluice_sockmap_on": 1, "sluice_sockmap_broken_flows_total": 2,
		"sluice_sockmap_fallbacks_total full": 3, "sluice_sockmap_pieces_total redirected": 4,
	})
}

func TestLocal(t *testing.T) {
	w := &world{local: Local{Why: "no rights", Fallbacks: map[string]uint64{"remote": 0}, Messages: map[string]uint64{"redirected": 0}}}
	m := w.metrics()
	before := values(t, m)
	if before["sluice_local_off no rights"] != 1 {
		t.Errorf("the reason is not told: %v", before)
	}
	delete(before, "sluice_local_off no rights") // gone when it is on
	w.local = Local{On: true, Fallbacks: map[string]uint64{"remote": 3}, Messages: map[string]uint64{"redirected": 4}}
	expectChange(t, before, values(t, m), map[string]float64{
		"sluice_local_on": 1, "sluice_local_fallbacks_total remote": 3, "sluice_local_messages_total redirected": 4,
	})
}
