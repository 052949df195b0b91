package report

import (
	"fmt"
	"io"
	"text/tabwriter"

	"sluice/tests/bench/figure"
)

// Text writes a table for each workload. A ratio is to the limit, and to the best
// peer, within each round: the median, and the least and the most.
func Text(out io.Writer, r *figure.Run) {
	fmt.Fprintf(out, "\n%d rounds, kernel %s, %d x %s\n", r.Rounds, r.Machine.Kernel, r.Machine.Cores, r.Machine.CPU)
	for _, w := range r.Workloads {
		fmt.Fprintf(out, "\n%s\n", w.Name)
		t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
		textHead(t, r, w)
		for _, c := range r.At(w) {
			textRow(t, r, w, c.Name)
		}
		t.Flush()
		for _, c := range r.At(w) {
			if why := r.Failed(c.Name, w); why != "" {
				fmt.Fprintf(out, "%s failed: %s\n", c.Name, why)
			}
		}
	}
	textIdle(out, r)
	textLookups(out, r)
}

func textHead(t io.Writer, r *figure.Run, w figure.Workload) {
	fmt.Fprint(t, "contender\t")
	for _, m := range w.Metrics() {
		fmt.Fprintf(t, "%s, %s\tof limit\tof %s\t", m.Name, m.Unit, orNone(r.BestPeer(w, m)))
	}
	for _, of := range times(w) {
		fmt.Fprintf(t, "%s\t", of.name)
	}
	fmt.Fprintf(t, "CPU %s\town %% of a core\t\n", costUnit(w))
}

func textRow(t io.Writer, r *figure.Run, w figure.Workload, name string) {
	fmt.Fprintf(t, "%s\t", name)
	if r.Failed(name, w) != "" {
		fmt.Fprint(t, "failed\t\n")
		return
	}
	for _, m := range w.Metrics() {
		got := r.Each(name, w, m.Of)
		fmt.Fprintf(t, "%s (%s-%s)\t%s\t%s\t", number(got.Median), number(got.Min), number(got.Max),
			ratio(r.Ratio(name, r.Limit(w), w, m)), ratio(r.Ratio(name, r.BestPeer(w, m), w, m)))
	}
	for _, of := range times(w) {
		fmt.Fprintf(t, "%s\t", number(r.Each(name, w, of.of).Median))
	}
	fmt.Fprintf(t, "%.2f\t%.1f\t\n",
		r.Each(name, w, func(s figure.Sample) float64 { return s.Cost(w) }).Median,
		r.Each(name, w, func(s figure.Sample) float64 { return 100 * s.Own / s.Seconds }).Median)
}

// column is a figure that is shown, but not compared.
type column struct {
	name string
	of   func(figure.Sample) float64
}

// times are the columns of a workload that times something, in microseconds.
func times(w figure.Workload) []column {
	columns := []column{
		{"p50 us", func(s figure.Sample) float64 { return s.Exchange.P50 }},
		{"p99 us", func(s figure.Sample) float64 { return s.Exchange.P99 }},
		{"p99.9 us", func(s figure.Sample) float64 { return s.Exchange.P999 }},
	}
	switch w.Kind {
	case figure.Bulk, figure.Both, figure.Iperf:
		return nil
	case figure.Handshake:
		return append(columns,
			column{"hello p99 us", func(s figure.Sample) float64 { return s.Hello.P99 }},
			column{"hello p99.9 us", func(s figure.Sample) float64 { return s.Hello.P999 }})
	}
	return columns
}

func textIdle(out io.Writer, r *figure.Run) {
	if len(r.Idle) == 0 {
		return
	}
	fmt.Fprintf(out, "\n%d idle flows\n", r.Idle[0].Flows)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "contender\tbytes a flow\tdescriptors a flow\t\n")
	for _, i := range r.Idle {
		if i.Failed != "" {
			fmt.Fprintf(t, "%s\tfailed\t\t\n", i.Contender)
			continue
		}
		fmt.Fprintf(t, "%s\t%.0f\t%.2f\t\n", i.Contender, i.Memory, i.Descriptors)
	}
	t.Flush()
	for _, i := range r.Idle {
		if i.Failed != "" {
			fmt.Fprintf(out, "%s failed: %s\n", i.Contender, i.Failed)
		}
	}
}

func textLookups(out io.Writer, r *figure.Run) {
	for i, l := range r.Lookups {
		if i == 0 {
			fmt.Fprintf(out, "\nSluice's look-up alone\n")
		}
		fmt.Fprintf(out, "%10s routes  %.0f ns\n", thousands(fmt.Sprint(l.Routes)), l.Nanoseconds)
	}
}
