package figure

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSpread(t *testing.T) {
	for _, test := range []struct {
		figures []float64
		want    Spread
	}{
		{nil, Spread{}},
		{[]float64{3}, Spread{3, 3, 3}},
		{[]float64{4, 1}, Spread{2.5, 1, 4}},
		{[]float64{9, 1, 2}, Spread{2, 1, 9}},
		{[]float64{4, 3, 2, 1}, Spread{2.5, 1, 4}},
	} {
		before := append([]float64{}, test.figures...)
		if got := SpreadOf(test.figures); got != test.want {
			t.Errorf("SpreadOf(%v) = %v, want %v", test.figures, got, test.want)
		}
		if diff := cmp.Diff(before, append([]float64{}, test.figures...)); diff != "" {
			t.Errorf("SpreadOf changed its figures: %s", diff)
		}
	}
}

func TestQuantiles(t *testing.T) {
	thousand := make([]int64, 1000)
	for i := range thousand {
		thousand[i] = int64(i) * 1000 // i microseconds
	}
	for _, test := range []struct {
		name  string
		times []int64
		want  Times
	}{
		{"none", nil, Times{}},
		{"one", []int64{5000}, Times{5, 5, 5}},
		{"a thousand", thousand, Times{500, 990, 999}},
	} {
		if got := Quantiles(test.times); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// TestMetrics: what counts at each kind, of a sample with a figure for everything.
func TestMetrics(t *testing.T) {
	s := Sample{Measured: Measured{Seconds: 2, Bytes: 1e9, Exchanges: 500, Exchange: Times{P50: 7}, Hello: Times{P50: 3}}}
	for _, test := range []struct {
		w    Workload
		want map[string]float64
	}{
		{Workload{Kind: Bulk}, map[string]float64{"throughput": 4}},
		{Workload{Kind: Both}, map[string]float64{"throughput": 4}},
		{Workload{Kind: Iperf}, map[string]float64{"throughput": 4}},
		{Workload{Kind: PingPong}, map[string]float64{"exchanges": 250, "p50": 7}},
		{Workload{Kind: PingPong, Group: ManyFlows, Flows: 50}, map[string]float64{"exchanges of each flow": 5}},
		{Workload{Kind: Mixed}, map[string]float64{"exchanges": 250, "throughput": 4}},
		{Workload{Kind: Handshake}, map[string]float64{"connections": 250, "hello to first byte, p50": 3}},
		{Workload{Kind: Connections}, map[string]float64{"connections": 250}},
		{Workload{Kind: Requests}, map[string]float64{"requests": 250}},
	} {
		got := map[string]float64{}
		for _, m := range test.w.Metrics() {
			got[m.Name] = m.Of(s)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got): %s", test.w.Kind, diff)
		}
	}
}

func TestCost(t *testing.T) {
	s := Sample{Measured: Measured{Bytes: 2 << 30, Exchanges: 50_000, CPU: 3}}
	for kind, want := range map[Kind]float64{Bulk: 1.5, Iperf: 1.5, PingPong: 6, Mixed: 6, Handshake: 6} {
		if got := s.Cost(Workload{Kind: kind}); got != want {
			t.Errorf("%s costs %v, want %v", kind, got, want)
		}
	}
}

// gbit is a sample of so many Gbit/s.
func gbit(who string, round int, rate float64) Sample {
	return Sample{Contender: who, Workload: "bulk", Round: round, Measured: Measured{Seconds: 1, Bytes: uint64(rate * 1e9 / 8)}}
}

var bulk = Workload{Name: "bulk", Kind: Bulk}

// aRun has a limit, two peers, of which one is best but for one round, and one who fails.
func aRun() *Run {
	failed := gbit("sluice auto", 1, 0)
	failed.Failed = "reset"
	return &Run{
		Contenders: []Contender{
			{Name: "limit", Role: Limit}, {Name: "sluice", Role: Sluice}, {Name: "sluice auto", Role: Sluice},
			{Name: "fast", Role: Peer}, {Name: "slow", Role: Peer}, {Name: "elsewhere", Role: Peer},
		},
		Workloads: []Workload{bulk},
		Samples: []Sample{
			gbit("limit", 0, 10), gbit("sluice", 0, 8), gbit("fast", 0, 4), gbit("slow", 0, 2), gbit("sluice auto", 0, 8),
			gbit("sluice", 1, 2), gbit("slow", 1, 8), gbit("limit", 1, 4), gbit("fast", 1, 2), failed,
			gbit("fast", 2, 6), gbit("limit", 2, 20), gbit("slow", 2, 1), gbit("sluice", 2, 18),
		},
	}
}

func TestRatio(t *testing.T) {
	r := aRun()
	for _, test := range []struct {
		who, to string
		want    Spread
	}{
		{"sluice", "limit", Spread{.8, .5, .9}}, // by round, whoever came first in it
		{"sluice", "fast", Spread{2, 1, 3}},
		{"sluice", "sluice", Spread{1, 1, 1}},
		{"sluice", "sluice auto", Spread{}}, // which failed
		{"sluice auto", "limit", Spread{}},
		{"sluice", "elsewhere", Spread{}},
		{"nobody", "limit", Spread{}},
	} {
		if diff := cmp.Diff(test.want, r.Ratio(test.who, test.to, bulk, throughput)); diff != "" {
			t.Errorf("%s to %s (-want +got): %s", test.who, test.to, diff)
		}
	}
	if got := r.Each("sluice auto", bulk, throughput.Of); got != (Spread{}) {
		t.Errorf("who failed has the figure %v", got)
	}
	if got := r.Each("sluice", bulk, throughput.Of); got != (Spread{8, 2, 18}) {
		t.Errorf("sluice has the figure %v", got)
	}
}

func TestWho(t *testing.T) {
	r := aRun()
	if got := r.BestPeer(bulk, throughput); got != "fast" {
		t.Errorf("the best peer is %q, want the one with the best median", got)
	}
	less := throughput
	less.Less = true
	if got := r.BestPeer(bulk, less); got != "slow" {
		t.Errorf("where less is better, the best peer is %q", got)
	}
	if got := r.Limit(bulk); got != "limit" {
		t.Errorf("the limit is %q", got)
	}
	other := Workload{Name: "other", Kind: Bulk}
	if limit, peer := r.Limit(other), r.BestPeer(other, throughput); limit != "" || peer != "" {
		t.Errorf("at a workload that nobody did, the limit is %q and the best peer %q", limit, peer)
	}
	var names []string
	for _, c := range r.At(bulk) {
		names = append(names, c.Name)
	}
	if got := strings.Join(names, ", "); got != "limit, sluice, sluice auto, fast, slow" {
		t.Errorf("at bulk are %s", got)
	}
	if got := r.Failed("sluice auto", bulk); got != "reset" {
		t.Errorf("it failed by %q", got)
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(mode string, hour int) *Run {
		t.Helper()
		r := aRun()
		r.Mode, r.Begun = mode, time.Date(2026, 1, 2, hour, 0, 0, 0, time.UTC)
		if _, err := r.Write(dir); err != nil {
			t.Fatal(err)
		}
		return r
	}
	write(Full, 1)
	want := write(Full, 2)
	write(Quick, 3)
	for name, text := range map[string]string{"2026-01-02T090000Z.json": `{"Machine": {}}`, "2026-01-02T080000Z.json": "cut off"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, path, err := Newest(dir, Full)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the newest full run (-want +got): %s", diff)
	}
	if filepath.Base(path) != "2026-01-02T020000Z.json" {
		t.Errorf("it is %s", path)
	}
	if _, _, err := Newest(dir, Part); !errors.Is(err, ErrNone) {
		t.Errorf("where there is none, the error is %v", err)
	}
}

func TestLoadRefuses(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{`{"Workloads": [{"Name": "x", "Kind": "dance"}]}`, `no kind is called "dance"`},
		{`{"Rounds": "five"}`, "Rounds"},
		{``, "unexpected end"},
	} {
		path := filepath.Join(t.TempDir(), "run.json")
		if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(path)
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: the error is %v, want one with the path and %q", test.text, err, test.want)
		}
	}
}
