package expect

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/tests/bench/figure"
)

var (
	bulk      = figure.Workload{Name: "bulk", Kind: figure.Bulk}
	handshake = figure.Workload{Name: "handshakes", Kind: figure.Handshake}
)

// aRun has three rounds in which all do the same: bulk in Gbit/s, and handshakes of
// 1,000 per second each with a p50 in µs.
func aRun(bulkRates, hellos map[string]float64) *figure.Run {
	r := &figure.Run{
		Workloads: []figure.Workload{bulk, handshake},
		Contenders: []figure.Contender{
			{Name: "IP forwarding", Role: figure.Limit}, {Name: "sluice auto", Role: figure.Sluice}, {Name: "haproxy", Role: figure.Peer},
		},
	}
	for round := range 3 {
		for who, rate := range bulkRates {
			r.Samples = append(r.Samples, figure.Sample{Contender: who, Workload: "bulk", Round: round,
				Measured: figure.Measured{Seconds: 1, Bytes: uint64(rate * 1e9 / 8)}})
		}
		for who, p50 := range hellos {
			r.Samples = append(r.Samples, figure.Sample{Contender: who, Workload: "handshakes", Round: round,
				Measured: figure.Measured{Seconds: 1, Exchanges: 1000, Hello: figure.Times{P50: p50}}})
		}
	}
	return r
}

type rates = map[string]float64

func usual() (bulk, hello rates) {
	return rates{"IP forwarding": 40, "sluice auto": 30, "haproxy": 10}, rates{"IP forwarding": 100, "sluice auto": 200, "haproxy": 200}
}

func TestOf(t *testing.T) {
	got, err := Of(aRun(usual()))
	if err != nil {
		t.Fatal(err)
	}
	want := []Ratio{
		{"sluice auto", "bulk", "throughput", rates{"IP forwarding": .75, "haproxy": 3}},
		{"sluice auto", "handshakes", "connections", rates{"IP forwarding": 1, "haproxy": 1}},
		{"sluice auto", "handshakes", "hello to first byte, p50", rates{"IP forwarding": 2, "haproxy": 1}},
	}
	if diff := cmp.Diff(want, got.Ratios); diff != "" {
		t.Errorf("(-want +got) %s", diff)
	}
}

func TestOfRefuses(t *testing.T) {
	failed := aRun(usual())
	for i := range failed.Samples {
		if failed.Samples[i].Contender == "sluice auto" {
			failed.Samples[i].Failed = "reset"
		}
	}
	for _, test := range []struct {
		name, want string
		run        *figure.Run
	}{
		{"a path that failed", "sluice auto failed at bulk: reset", failed},
		{"no reference", "neither the limit nor haproxy", aRun(rates{"sluice auto": 1}, nil)},
		{"nobody", "no path of Sluice", &figure.Run{}},
	} {
		if _, err := Of(test.run); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: the error is %v, want one with %q", test.name, err, test.want)
		}
	}
}

// TestCheck: a margin of a third; expected are 0.75 of the limit and 3 of haproxy for
// bulk, and 2 and 1 for hellos, where less is better.
func TestCheck(t *testing.T) {
	for _, test := range []struct {
		name  string
		bulk  rates
		hello rates
		lost  []string
	}{
		{name: "the same"},
		{name: "a machine half as fast", bulk: rates{"IP forwarding": 20, "sluice auto": 15, "haproxy": 5}},
		{name: "faster", bulk: rates{"IP forwarding": 40, "sluice auto": 40, "haproxy": 10}},
		{name: "a little slower", bulk: rates{"IP forwarding": 40, "sluice auto": 21, "haproxy": 10}},
		{name: "a third slower", bulk: rates{"IP forwarding": 40, "sluice auto": 19, "haproxy": 10}, lost: []string{"throughput"}},
		{name: "the limit did unusually well", bulk: rates{"IP forwarding": 80, "sluice auto": 30, "haproxy": 10}},
		{name: "haproxy did unusually well", bulk: rates{"IP forwarding": 40, "sluice auto": 30, "haproxy": 20}},
		{name: "both did", bulk: rates{"IP forwarding": 80, "sluice auto": 30, "haproxy": 20}, lost: []string{"throughput"}},
		{name: "no haproxy, and slower", bulk: rates{"IP forwarding": 40, "sluice auto": 19}, lost: []string{"throughput"}},
		{name: "a hello that takes a little longer", hello: rates{"IP forwarding": 100, "sluice auto": 290, "haproxy": 200}},
		{name: "a hello that takes much longer", hello: rates{"IP forwarding": 100, "sluice auto": 310, "haproxy": 200}, lost: []string{"hello to first byte, p50"}},
		{name: "a hello that takes less", hello: rates{"IP forwarding": 100, "sluice auto": 20, "haproxy": 200}},
	} {
		t.Run(test.name, func(t *testing.T) {
			e, err := Of(aRun(usual()))
			if err != nil {
				t.Fatal(err)
			}
			bulk, hello := usual()
			if test.bulk != nil {
				bulk = test.bulk
			}
			if test.hello != nil {
				hello = test.hello
			}
			verdicts, err := e.Check(aRun(bulk, hello))
			if err != nil {
				t.Fatal(err)
			}
			var lost []string
			for _, v := range verdicts {
				if v.Lost {
					lost = append(lost, v.Metric)
				}
			}
			if diff := cmp.Diff(test.lost, lost); diff != "" {
				t.Errorf("lost (-want +got): %s\n%v", diff, verdicts)
			}
			if len(verdicts) != len(e.Ratios) {
				t.Errorf("%d verdicts of %d expectations", len(verdicts), len(e.Ratios))
			}
		})
	}
}

// TestCheckRefuses: a run that does not tell is no pass.
func TestCheckRefuses(t *testing.T) {
	whole, err := Of(aRun(usual()))
	if err != nil {
		t.Fatal(err)
	}
	failed := aRun(usual())
	failed.Samples[0].Contender, failed.Samples[0].Failed = "sluice auto", "reset"
	_, hello := usual()
	for _, test := range []struct {
		name, want string
		e          Expected
		run        *figure.Run
	}{
		{"nothing expected", "nothing is expected", Expected{Margin: .3}, aRun(usual())},
		{"no margin", "the margin is 0", Expected{Ratios: whole.Ratios}, aRun(usual())},
		{"a margin of all", "the margin is 1", Expected{Margin: 1, Ratios: whole.Ratios}, aRun(usual())},
		{"a path that failed", "sluice auto at bulk: it failed: reset", whole, failed},
		{"a workload that is not there", `the run has no "throughput"`, whole, &figure.Run{}},
		{"references that are not there", "none of the references", whole, aRun(rates{"sluice auto": 30}, hello)},
	} {
		if _, err := test.e.Check(test.run); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: the error is %v, want one with %q", test.name, err, test.want)
		}
	}
}

func TestVerdict(t *testing.T) {
	v := Verdict{Ratio{"sluice auto", "bulk", "throughput", rates{"IP forwarding": .75, "haproxy": 3}}, rates{"IP forwarding": .4, "haproxy": 1.5}, true}
	const want = "LOST  sluice auto, bulk, throughput: 0.40 of IP forwarding, expected 0.75; 1.50 of haproxy, expected 3.00"
	if got := fmt.Sprint(v); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestFile(t *testing.T) {
	want, err := Of(aRun(usual()))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "expected.json")
	if err := want.Write(path); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got) %s", diff)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("of a file that is cut off, the error is %v", err)
	}
}
