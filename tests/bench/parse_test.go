package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"sluice/tests/harness"
)

func TestWorked(t *testing.T) {
	for _, test := range []struct {
		text string
		want float64
		ok   bool
	}{
		{"cpu  100 20 300 9999 50 4 6 77 0 0\ncpu0 1 1 1 1 1 1 1\n", 4.3, true}, // neither idle, iowait nor steal
		{"cpu  1 2 3", 0, false},
		{"", 0, false},
	} {
		got, err := worked(test.text)
		if (err == nil) != test.ok || test.ok && got != test.want {
			t.Errorf("%q: %v, %v; want %v", test.text, got, err, test.want)
		}
	}
}

func TestUsed(t *testing.T) {
	for _, test := range []struct {
		text string
		want float64
		ok   bool
	}{
		{"7 (haproxy) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 3 0", 2, true},
		{"7 (a ) b) S 1 7 7 0 -1 4194304 100 0 0 0 25 50 0 0 20 0 3 0", .75, true},
		{"7 (haproxy) S 1 7", 0, false},
		{"7 (haproxy) S 1 7 7 0 -1 4194304 100 0 0 0 x 50 0", 0, false},
		{"", 0, false},
	} {
		got, err := used([]byte(test.text))
		if (err == nil) != test.ok || test.ok && got != test.want {
			t.Errorf("%q: %v, %v; want %v", test.text, got, err, test.want)
		}
	}
}

func TestListens(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue
   0: 0100007F:2328 00000000:0000 0A 00000000:00000000
   1: 0100007F:2329 0100007F:0400 01 00000000:00000000
`
	for port, want := range map[uint16]bool{9000: true, 9001: false, 9002: false} {
		if got := listens(table, port); got != want {
			t.Errorf("port %d: %v, want %v", port, got, want)
		}
	}
	if listens("", 9000) {
		t.Error("somebody listens where there is nobody")
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 9000: "9,000", 100_000: "100,000", 1_000_020: "1,000,020"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestWholeSeconds(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "1", 200 * time.Millisecond: "1", time.Second: "1", 1500 * time.Millisecond: "2"} {
		if got := wholeSeconds(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

func TestUpstream(t *testing.T) {
	routes := []string{plain.name + "=a:1", secure.name + "=b:2"}
	for name, want := range map[string]string{plain.name: "a:1", secure.name: "b:2", "other": ""} {
		if got := upstream(harness.Hello(name, 0), routes); got != want {
			t.Errorf("%s leads to %q, want %q", name, got, want)
		}
	}
}

func TestReadCommand(t *testing.T) {
	want := command{opHash, 1 << 20}
	whole := append(harness.Hello(plain.name, 300), want.bytes()...)
	if got, err := readCommand(bytes.NewReader(whole)); err != nil || got != want {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	for _, n := range []int{0, 3, 5, 100, len(whole) - 1} {
		if _, err := readCommand(bytes.NewReader(whole[:n])); err == nil {
			t.Errorf("of the first %d bytes it made a command", n)
		}
	}
}

func TestProgress(t *testing.T) {
	for _, test := range []struct {
		terminal bool
		want     string
	}{
		{false, "  1m30s left  round 1\n  1m30s left  round 2\n"},
		{true, "\r\x1b[K  1m30s left  round 1\r\x1b[K  1m30s left  round 2\r\x1b[K"},
	} {
		var out strings.Builder
		p := progress{out: &out, terminal: test.terminal, begun: time.Now(), all: 90 * time.Second}
		p.say("round %d", 1)
		p.say("round %d", 2)
		p.end()
		if out.String() != test.want {
			t.Errorf("got %q, want %q", out.String(), test.want)
		}
	}
}

func TestLookups(t *testing.T) {
	got, err := lookups([]int{1, 100})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Routes != 1 || got[1].Routes != 100 || got[0].Nanoseconds <= 0 {
		t.Errorf("got %+v", got)
	}
}

// TestTable: what is timed are look-ups that find something.
func TestTable(t *testing.T) {
	table, names, err := table(1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if r, _ := table.Lookup(name); r == nil {
			t.Fatalf("%s has no route", name)
		}
	}
}
