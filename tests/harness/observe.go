package harness

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Record is a line of the access log.
type Record struct {
	Listener, Source, Endpoint string // address and port
	SNI, Route, Cluster, Path  string
	Sent, Received             int64   // bytes
	Duration                   float64 `json:"duration_ms"`
	Hello                      float64 `json:"hello_ms"`
	Connect                    float64 `json:"connect_ms"`
	Attempts                   int
	Reason, Detail             string
}

// Records waits until n flows have ended in all, and returns them in the order of
// their end.
func (g *Gateway) Records(n int) []Record {
	g.t.Helper()
	var records []Record
	Eventually(g.t, fmt.Sprintf("%d lines in the access log of %s", n, g.ns.Name), func() bool {
		records = g.records()
		return len(records) >= n
	})
	return records
}

func (g *Gateway) records() []Record {
	records, err := parseRecords(g.text("access.log"))
	if err != nil {
		g.t.Fatal(err)
	}
	return records
}

// parseRecords reads an access log, but for a last line that is still being written.
func parseRecords(log string) ([]Record, error) {
	var records []Record
	for line := range strings.Lines(log) {
		if !strings.HasSuffix(line, "\n") {
			break
		}
		var r Record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return nil, fmt.Errorf("access log line %q: %w", line, err)
		}
		records = append(records, r)
	}
	return records, nil
}

// Metric is the value of a series, written as /metrics has it.
func (g *Gateway) Metric(series string) float64 {
	g.t.Helper()
	resp, err := g.client.Get("http://" + g.metrics + "/metrics")
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), series+" "); ok {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				g.t.Fatal(err)
			}
			return v
		}
	}
	g.t.Fatalf("no series %s", series)
	return 0
}

// Idle waits until the gateway has no flow.
func (g *Gateway) Idle() {
	g.t.Helper()
	Eventually(g.t, "a gateway without flows", func() bool { return g.Metric("sluice_flows_active") == 0 })
}

// Descriptors are the open files of a process, by kind.
type Descriptors struct {
	Sockets, Pipes, Others int
}

// All is their number.
func (d Descriptors) All() int { return d.Sockets + d.Pipes + d.Others }

// Descriptors counts the open files of the process.
func (g *Gateway) Descriptors() Descriptors {
	g.t.Helper()
	d, err := descriptors(g.cmd.Process.Pid)
	if err != nil {
		g.t.Fatal(err)
	}
	return d
}

func descriptors(pid int) (Descriptors, error) {
	var d Descriptors
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return d, fmt.Errorf("list open files: %w", err)
	}
	for _, e := range entries {
		to, err := os.Readlink(filepath.Join(dir, e.Name()))
		switch {
		case err != nil: // closed meanwhile
		case strings.HasPrefix(to, "socket:"):
			d.Sockets++
		case strings.HasPrefix(to, "pipe:"):
			d.Pipes++
		default:
			d.Others++
		}
	}
	return d, nil
}

// RSS is the memory of the process, in bytes.
func (g *Gateway) RSS() int64 {
	g.t.Helper()
	n, err := rss(g.cmd.Process.Pid)
	if err != nil {
		g.t.Fatal(err)
	}
	return n
}

func rss(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, fmt.Errorf("read memory use: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "Rss: %d kB", &kib); n == 1 {
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("no Rss in the memory use of process %d", pid)
}
