package explain

import (
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/userspace/flow"
	"sluice/userspace/route"
)

func all(string) bool { return true }

func TestChoose(t *testing.T) {
	f := usual(t)
	for word, want := range map[string]int{
		"":                                  28,
		"web":                               4,
		"WEB.":                              4,
		"web.default.dc1":                   3,
		"v1.web":                            1,
		"*.dc2.internal." + td:              1, // a route of this name, and not what is under it
		"*.dc1.internal." + td:              7,
		"*web*":                             4,
		"*":                                 28,
		"dc2":                               4,
		"srv1":                              1,
		"internal":                          0, // is in no service's name
		"default":                           0,
		"example":                           6,
		"consul":                            0,
		"server.dc":                         6,
		"nothing":                           0,
		"pay.default.default.home.external": 1,
	} {
		chosen, err := Choose(f.Table, word)
		if err != nil {
			t.Errorf("%q: %v", word, err)
			continue
		}
		if rows := Rows(f, chosen, nil); len(rows) != want {
			t.Errorf("%q: %d rows, want %d:", word, len(rows), want)
			for _, r := range rows {
				t.Log(r.Name)
			}
		}
	}
	for _, word := range []string{"web[12]", "we?", `a\b`, "a/b"} {
		if _, err := Choose(f.Table, word); err == nil {
			t.Errorf("%q is taken", word)
		}
	}
	if _, err := Choose(nil, "web"); err != nil {
		t.Errorf("without a table: %v", err)
	}
}

func TestChooseAny(t *testing.T) {
	f := usual(t)
	put(t, f, &route.Route{Name: "*", Cluster: "api"})
	chosen, err := Choose(f.Table, "*")
	if err != nil {
		t.Fatal(err)
	}
	if rows := Rows(f, chosen, nil); len(rows) != 1 || rows[0].Name != "*" {
		t.Errorf("the route for all is not the one that is chosen: %d rows", len(rows))
	}
}

func TestRows(t *testing.T) {
	f := usual(t)
	override(t, f)
	f.Settings.Path = "splice"
	f.Counts = Sample{At: time.Unix(110, 0), Routes: map[string]Counters{
		internal("web"): {Active: 2, Flows: 50, Sent: 4000, Received: 9000, ConnectFailures: 3,
			Refused: map[flow.End]uint64{flow.ConnectFailed: 1, flow.LimitRoute: 2, flow.NoEndpoint: 0}},
		internal("api"): {Flows: 5, Sent: 100},
	}}
	former := &Sample{At: time.Unix(100, 0), Routes: map[string]Counters{
		internal("web"): {Flows: 30, Sent: 3000, Received: 8990},
		internal("api"): {Flows: 7, Sent: 90}, // counted anew since
	}}
	rows := Rows(f, all, former)
	if !slices.IsSortedFunc(rows, func(a, b Row) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("not sorted by name")
	}
	got := map[string]Row{}
	for _, r := range rows {
		got[r.Name] = r
	}
	for _, want := range []Row{
		{Name: internal("web"), Cluster: "web", Healthy: 2, Endpoints: 3, Path: "splice", Active: 2, Flows: 50, Sent: 4000, Received: 9000,
			ConnectFailures: 3, Refused: map[string]uint64{"connect_failed": 1, "limit_route": 2}, Rates: &Rates{Flows: 2, Sent: 100, Received: 1}},
		{Name: internal("api"), Cluster: "api", Healthy: 1, Endpoints: 1, Path: "sockmap", Override: true, Flows: 5, Sent: 100, Rates: &Rates{Flows: 0.5, Sent: 1}},
		{Name: "cache.team.dc1.internal." + td, Cluster: "cache", Endpoints: 2, Path: "splice", Rates: &Rates{}},
		{Name: "old.example.com", Path: "splice", Refuse: "moved to new.example.com", Rates: &Rates{}},
	} {
		if diff := cmp.Diff(want, got[want.Name]); diff != "" {
			t.Errorf("%s, -want +got:\n%s", want.Name, diff)
		}
	}
	for _, r := range Rows(f, all, nil) {
		if r.Rates != nil {
			t.Errorf("%s has rates without a former sample", r.Name)
		}
	}
	if rows := Rows(f, all, &f.Counts); rows[0].Rates != nil {
		t.Error("rates between a sample and itself")
	}
}

func TestRowsWithoutTable(t *testing.T) {
	b, err := json.Marshal(Rows(&Facts{}, all, nil))
	if err != nil || string(b) != "[]" {
		t.Errorf("%s, %v", b, err)
	}
}

// TestRowJSON holds the names that programs go by.
func TestRowJSON(t *testing.T) {
	b, err := json.Marshal(Row{Cluster: "c", Override: true, Refused: map[string]uint64{"x": 1}, Refuse: "r", Rates: &Rates{}})
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(b, &fields); err != nil {
		t.Fatal(err)
	}
	want := []string{"active", "cluster", "connect_failures", "endpoints", "flows", "healthy", "kernel_received", "kernel_sent", "name", "override", "path", "rates", "received", "refuse", "refused", "sent"}
	if got := slices.Sorted(maps.Keys(fields)); !slices.Equal(got, want) {
		t.Errorf("fields %q, want %q", got, want)
	}
}

// BenchmarkRows is one turn of sluice routes -format=json with 100,000 routes that all
// have flows, and some refusals.
func BenchmarkRows(b *testing.B) {
	f := &Facts{Table: large(b, 100_000), Counts: Sample{At: time.Unix(100, 0), Routes: map[string]Counters{}}}
	i := 0
	for r := range f.Table.Routes() {
		c := Counters{Active: 1, Flows: 1000, Sent: 1 << 30, Received: 1 << 33}
		if i++; i%20 == 0 {
			c.Refused = map[flow.End]uint64{flow.ConnectFailed: 1}
		}
		f.Counts.Routes[r.Name] = c
	}
	former := &Sample{At: time.Unix(90, 0)}
	for name, former := range map[string]*Sample{"once": nil, "again": former} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				Rows(f, all, former)
			}
		})
		b.Run(name+"/JSON", func(b *testing.B) {
			rows := Rows(f, all, former)
			for b.Loop() {
				if err := json.NewEncoder(io.Discard).Encode(rows); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
