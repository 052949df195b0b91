package snapshot

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/userspace/route"
)

// patience is how long a thing may take that is bound to happen.
const patience = 20 * time.Second

func addrs(list ...string) []netip.AddrPort {
	var out []netip.AddrPort
	for _, a := range list {
		out = append(out, netip.MustParseAddrPort(a))
	}
	return out
}

// build makes a table of *route.Route and *route.Cluster.
func build(t testing.TB, source string, items ...any) *route.Table {
	t.Helper()
	b := route.NewBuilder(nil, source)
	for _, item := range items {
		var err error
		switch item := item.(type) {
		case *route.Route:
			err = b.PutRoute(item)
		case *route.Cluster:
			err = b.PutCluster(item)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	table, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// full is a table with something of everything.
func full(t testing.TB) *route.Table {
	return build(t, "xds",
		&route.Cluster{Name: "empty"},
		&route.Cluster{
			Name: "web", Policy: route.LeastRequest, ConnectTimeout: 1500 * time.Millisecond, PanicThreshold: route.NoPanic,
			SendProxy: true, Discovery: route.Logical, Endpoints: []route.Endpoint{
				{Addrs: addrs("10.0.0.1:20000"), Weight: 128},
				{Addrs: addrs("[fd00::1]:20000"), Weight: 2, Health: route.Critical},
				{Host: "web.example.net", Port: 443, Health: route.Warning},
				{Host: "api.example.net.", Port: 443, Addrs: addrs("10.0.0.2:443", "10.0.0.3:443")},
			},
		},
		&route.Route{Name: "*", Cluster: "empty"},
		&route.Route{Name: "*.web.x", Cluster: "web"},
		&route.Route{Name: "web.x", Cluster: "web", Options: route.Options{MaxFlows: 7, Path: "splice", Credit: 100_000}},
		&route.Route{Name: "no.x", Refuse: `http & "quotes" <β>` + "\n"},
	)
}

func fullMeta() Meta {
	return Meta{
		Source: "xds", Identity: "dc1/gw", Listeners: addrs("10.0.0.1:8443", "[::]:8443"),
		Written: time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC),
	}
}

// whole is a file of these lines with a good first and last one.
func whole(lines string) []byte {
	text := []byte(magic + fmt.Sprint(format) + "\n" + lines)
	return fmt.Appendf(text, "%s%x\n", trailer, sha256.Sum256(text))
}

// text is the file of a table.
func text(t testing.TB, table *route.Table, meta Meta) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := encode(&b, table, meta); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// many is a table as a big mesh has it: each route with a cluster of its own.
func many(t testing.TB, n int) *route.Table {
	items := make([]any, 0, 2*n)
	for i := range n {
		name := fmt.Sprintf("service-%06d.default.dc1.internal.11111111-2222-3333-4444-555555555555.consul", i)
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 20000)
		items = append(items, &route.Cluster{
			Name: name, ConnectTimeout: 5 * time.Second,
			Endpoints: []route.Endpoint{{Addrs: []netip.AddrPort{at}}, {Addrs: []netip.AddrPort{netip.AddrPortFrom(at.Addr(), 20001)}}},
		}, &route.Route{Name: name, Cluster: name})
	}
	return build(t, "xds", items...)
}

// names are the files of a directory.
func names(t testing.TB, dir string) string {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, f := range files {
		list = append(list, f.Name())
	}
	return strings.Join(list, " ")
}

// logBuffer is a log to look into.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// count is how many lines have the words.
func (b *logBuffer) count(words string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.text.String(), words)
}

func newKeeper(t testing.TB, interval time.Duration) (*Keeper, *logBuffer) {
	log := &logBuffer{}
	k := NewKeeper(filepath.Join(t.TempDir(), "table"), slog.New(slog.NewTextHandler(log, nil)))
	k.interval = interval
	return k, log
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not %s", what)
		}
	}
}
