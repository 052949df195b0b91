package tool

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/tests/bench/figure"
)

func read(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestIperf: the file is what iperf 3.12 printed, but for intervals.
func TestIperf(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       figure.Measured
		err        string
	}{
		{name: "a run", text: read(t, "iperf3.json"), want: figure.Measured{Seconds: 1.027742, Bytes: 2031091712}},
		{name: "an error", text: `{"end": {}, "error": "unable to connect to server: Connection refused"}`, err: "iperf3 says: unable to connect"},
		{name: "an error after some data", text: `{"end": {"sum_received": {"seconds": 1, "bytes": 5}}, "error": "control socket has closed unexpectedly"}`, err: "closed unexpectedly"},
		{name: "nothing", text: "", err: "iperf3's output"},
		{name: "no JSON", text: "iperf3: error", err: "iperf3's output"},
		{name: "no end", text: `{"end": {}}`, err: "received nothing"},
		{name: "no bytes", text: `{"end": {"sum_received": {"seconds": 1, "bytes": 0}}}`, err: "received nothing"},
		{name: "no time", text: `{"end": {"sum_received": {"seconds": 0, "bytes": 5}}}`, err: "received nothing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Iperf([]byte(test.text))
			check(t, got, err, test.want, test.err)
		})
	}
}

func TestWrk(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       figure.Measured
		err        string
	}{
		{name: "a run", text: read(t, "wrk.txt"), want: figure.Measured{
			Seconds: 1.100028, Exchanges: 2517, Exchange: figure.Times{P50: 317, P99: 3572, P999: 5185}}},
		{name: "failures", text: "bench requests=9 us=1000 failed=1 p50=1 p99=1 p999=1\n", err: "1 of 10 requests failed"},
		{name: "no answer", text: "bench requests=0 us=1000 failed=0 p50=0 p99=0 p999=0\n", err: "not one request"},
		{name: "no time", text: "bench requests=7 us=0 failed=0 p50=0 p99=0 p999=0\n", err: "not one request"},
		{name: "no line", text: "Running 1s test\n", err: "no line"},
		{name: "half a line", text: "bench requests=7 us=10", err: `line "bench requests=7 us=10"`},
		{name: "no number", text: "bench requests=many us=10 failed=0 p50=0 p99=0 p999=0", err: "wrk's output"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Wrk(test.text)
			check(t, got, err, test.want, test.err)
		})
	}
}

func check(t *testing.T, got figure.Measured, err error, want figure.Measured, wantErr string) {
	t.Helper()
	if wantErr != "" {
		if err == nil || !strings.Contains(err.Error(), wantErr) {
			t.Errorf("the error is %v, want one with %q", err, wantErr)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got) %s", diff)
	}
}

func FuzzIperf(f *testing.F) {
	f.Add([]byte(read(f, "iperf3.json")))
	f.Fuzz(func(t *testing.T, text []byte) {
		if m, err := Iperf(text); err == nil && (m.Seconds <= 0 || m.Bytes == 0) {
			t.Errorf("no error, but %+v", m)
		}
	})
}

func FuzzWrk(f *testing.F) {
	f.Add(read(f, "wrk.txt"))
	f.Fuzz(func(t *testing.T, text string) {
		if m, err := Wrk(text); err == nil && !(m.Seconds > 0 && m.Exchanges > 0) {
			t.Errorf("no error, but %+v", m)
		}
	})
}
