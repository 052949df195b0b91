package report

import (
	"fmt"
	"slices"
	"strings"

	"sluice/tests/bench/figure"
)

// aim is what Sluice should reach: a ratio, by a metric at a workload, to somebody.
type aim struct {
	who, workload string
	metric        int    // of Workload.Metrics
	to            string // a contender, or the name of another workload
	bound         float64
}

// aims are all there are; those of idle flows are beside.
var aims = []aim{
	{"sluice auto", "TLS handshakes, 16 at a time", 0, "haproxy", 1.0},
	{"sluice auto", "TLS handshakes, 16 at a time", 1, "haproxy", 1.1},
	{"sluice splice", "bulk, 1 flow", 0, "haproxy", 1.2},
	{"sluice splice", "bulk, 1 flow", 0, "IP forwarding", 0.75},
	{"sluice sockmap", "ping-pong 128 B, 1 flow", 1, "haproxy", 0.6},
	{"sluice auto", "ping-pong 128 B, 64 flows", 0, "haproxy", 1.0},
	{"sluice direct", "local: ping-pong 128 B, 1 flow", 0, "no gateway", 1.3},
	{"sluice splice", "TLS handshakes, 100,000 routes", 0, "TLS handshakes, 4 routes", 0.95},
}

// aimsTable says of each aim whether it was reached. It has those that the run can tell
// of, or nothing.
func aimsTable(out *strings.Builder, r *figure.Run) {
	var lines []string
	for _, a := range aims {
		w, ok := named(r, a.workload)
		if !ok {
			continue
		}
		m := w.Metrics()[a.metric]
		if got, ok := a.ratio(r, w, m); ok {
			lines = append(lines, aimLine(fmt.Sprintf("%s: %s, %s", a.workload, m.Name, a.who), a.to, a.bound, m.Less, got))
		}
	}
	if got, peer, ok := idleRatio(r); ok {
		lines = append(lines, aimLine("idle flows: memory, sluice auto", peer+", the least of the peers", 1, true, figure.Spread{Median: got, Min: got, Max: got}))
	}
	if lines != nil {
		fmt.Fprintf(out, "\n| aim | ratio to | should be | is | |\n| --- | --- | --- | --- | --- |\n%s", strings.Join(lines, ""))
	}
}

func aimLine(what, to string, bound float64, less bool, got figure.Spread) string {
	sign, reached := "at least", got.Median >= bound
	if less {
		sign, reached = "at most", got.Median <= bound
	}
	verdict := "reached"
	if !reached {
		verdict = "**not reached**"
	}
	return fmt.Sprintf("| %s | %s | %s %.2f | %s | %s |\n", what, to, sign, bound, ratio(got), verdict)
}

// ratio compares within each round, to a contender or to the same one at another
// workload.
func (a aim) ratio(r *figure.Run, w figure.Workload, m figure.Metric) (figure.Spread, bool) {
	other, ok := named(r, a.to)
	if !ok {
		got := r.Ratio(a.who, a.to, w, m)
		return got, got.Median > 0
	}
	got, of := r.Each(a.who, w, m.Of).Median, r.Each(a.who, other, m.Of).Median
	if got == 0 || of == 0 {
		return figure.Spread{}, false
	}
	return figure.Spread{Median: got / of, Min: got / of, Max: got / of}, true
}

func named(r *figure.Run, name string) (figure.Workload, bool) {
	i := slices.IndexFunc(r.Workloads, func(w figure.Workload) bool { return w.Name == name })
	if i < 0 {
		return figure.Workload{}, false
	}
	return r.Workloads[i], true
}

// idleRatio compares what an idle flow takes to the peer that takes least.
func idleRatio(r *figure.Run) (ratio float64, peer string, ok bool) {
	var own, least float64
	for _, i := range r.Idle {
		switch {
		case i.Failed != "" || i.Memory <= 0:
		case i.Contender == "sluice auto":
			own = i.Memory
		case role(r, i.Contender) == figure.Peer && (peer == "" || i.Memory < least):
			least, peer = i.Memory, i.Contender
		}
	}
	return own / least, peer, own > 0 && peer != ""
}
