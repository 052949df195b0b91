package report

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/tests/bench/figure"
)

var update = flag.Bool("update", false, "write the golden files anew")

// example is a run with each kind of thing that a report shows: two metrics, a
// contender that failed and one that stood aside, idle flows and look-ups.
func example() *figure.Run {
	bulk := figure.Workload{Name: "bulk, 1 flow", Group: "Streams", Kind: figure.Bulk, Layout: figure.OneHop, Flows: 1}
	ping := figure.Workload{Name: "ping-pong 128 B, 1 flow", Group: "Exchanges", Kind: figure.PingPong, Layout: figure.OneHop, Flows: 1, Size: 128}
	mixed := figure.Workload{Name: "mixed", Group: "Mixed", Kind: figure.Mixed, Layout: figure.OneHop, Flows: 64, Size: 128}
	hello := figure.Workload{Name: "TLS handshakes, 4 routes", Group: "New routes", Kind: figure.Handshake, Layout: figure.OneHop, Flows: 16, Routes: 4}
	many := hello
	many.Name, many.Routes = "TLS handshakes, 100,000 routes", 100_000
	many64 := ping
	many64.Name, many64.Flows = "ping-pong 128 B, 64 flows", 64
	r := &figure.Run{
		Begun: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Mode: figure.Full, Rounds: 3,
		Machine: figure.Machine{Kernel: "6.1.0", CPU: "A CPU", Cores: 2},
		Contenders: []figure.Contender{
			{Name: "IP forwarding", Role: figure.Limit}, {Name: "sluice splice", Role: figure.Sluice, Version: "sluice 1"}, {Name: "sluice auto", Role: figure.Sluice, Version: "sluice 1"},
			{Name: "haproxy", Role: figure.Peer, Version: "HAProxy version 2.6 - where it lives"}, {Name: "io.Copy", Role: figure.Peer},
		},
		Workloads: []figure.Workload{bulk, ping, many64, mixed, hello, many},
		Idle: []figure.Idle{
			{Contender: "sluice auto", Flows: 9000, Memory: 1234.5, Descriptors: 2},
			{Contender: "haproxy", Flows: 9000, Memory: 3378, Descriptors: 2},
			{Contender: "io.Copy", Flows: 9000, Failed: "too many open files"},
		},
		Lookups: []figure.Lookup{{Routes: 1, Nanoseconds: 50}, {Routes: 100_000, Nanoseconds: 290.4}},
	}
	for round := range 3 {
		for i, c := range r.Contenders {
			f := float64(13 - 3*i + round) // 13, 10, 7, 4, 1 and more
			for _, w := range r.Workloads {
				if w.Routes > 0 && (c.Role == figure.Limit || c.Name == "io.Copy") {
					continue
				}
				s := figure.Sample{Contender: c.Name, Workload: w.Name, Round: round, Measured: figure.Measured{
					Seconds: 1, CPU: 1, Own: f / 20, Bytes: uint64(f * 1e9), Exchanges: uint64(f * 1500),
					Exchange: figure.Times{P50: 100 / f, P99: 1000 / f, P999: 10000 / f}, Hello: figure.Times{P50: 50 / f, P99: 60 / f, P999: 70 / f},
				}}
				if c.Name == "io.Copy" && w.Name == "mixed" && round == 1 {
					s.Failed = "it does not carry bytes as they are"
				}
				r.Samples = append(r.Samples, s)
			}
		}
	}
	return r
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; if it is as it should be, run this test with -update): %s", name, diff)
	}
}

func TestText(t *testing.T) {
	var out bytes.Buffer
	Text(&out, example())
	golden(t, "table.txt", out.String())
}

func TestMarkdown(t *testing.T) {
	golden(t, "report.md", markdown(example(), "tests/bench/charts"))
}

func TestPictures(t *testing.T) {
	first := pictures(example())
	want := []string{"exchanges.svg", "idle-flows.svg", "mixed.svg", "new-routes.svg", "streams.svg"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(first))); diff != "" {
		t.Errorf("(-want +got) %s", diff)
	}
	for name, picture := range first {
		golden(t, name, string(picture))
	}
	if diff := cmp.Diff(first, pictures(example())); diff != "" {
		t.Errorf("the same run makes other pictures: %s", diff)
	}
}

// TestWrite: the part between the markers goes, and so does a picture that nothing
// makes any more; the rest stays, and to write twice is to write once.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	readme, charts := filepath.Join(dir, "README.md"), filepath.Join(dir, "tests", "charts")
	if err := os.MkdirAll(charts, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		readme: "# Before\n\n" + from + "\nold\n" + to + "\n\n# After\n", filepath.Join(charts, "gone.svg"): "<svg/>", filepath.Join(charts, "kept.txt"): "",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var texts [2]string
	for i := range texts {
		if err := Write(example(), readme, charts); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(readme)
		if err != nil {
			t.Fatal(err)
		}
		texts[i] = string(text)
	}
	want := "# Before\n\n" + from + "\n\n" + markdown(example(), "tests/charts") + "\n" + to + "\n\n# After\n"
	if diff := cmp.Diff(want, texts[0]); diff != "" {
		t.Errorf("the README (-want +got): %s", diff)
	}
	if texts[0] != texts[1] {
		t.Error("to write again made another README")
	}
	var names []string
	entries, err := os.ReadDir(charts)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); got != "exchanges.svg idle-flows.svg kept.txt mixed.svg new-routes.svg streams.svg" {
		t.Errorf("the pictures are %s", got)
	}
}

// TestWriteRefuses: without markers nothing is written.
func TestWriteRefuses(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"# no markers\n", from},
		{to + "\n" + from + "\n", to},
		{from + "\n", to},
	} {
		dir := t.TempDir()
		readme, charts := filepath.Join(dir, "README.md"), filepath.Join(dir, "charts")
		if err := os.WriteFile(readme, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := Write(example(), readme, charts)
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), readme) {
			t.Errorf("%q: the error is %v, want one with %q", test.text, err, test.want)
		}
		if _, err := os.Stat(charts); err == nil {
			t.Errorf("%q: pictures were written", test.text)
		}
	}
}

func TestNumber(t *testing.T) {
	for f, want := range map[float64]string{0: "0.00", .456: "0.46", 9.99: "9.99", 10: "10.0", 99.94: "99.9", 100: "100", 12345.6: "12,346", 1e6: "1,000,000"} {
		if got := number(f); got != want {
			t.Errorf("number(%v) = %q, want %q", f, got, want)
		}
	}
}
