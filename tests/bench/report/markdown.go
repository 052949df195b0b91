package report

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"sluice/tests/bench/figure"
)

// markdown is the README's part: what was measured on what, and for each group a
// picture and a table. charts is where the pictures are, as the README links to them.
func markdown(r *figure.Run, charts string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "Medians of %d rounds on %s: kernel %s, %d cores (%s), %s.\n", r.Rounds,
		r.Begun.UTC().Format("2006-01-02"), r.Machine.Kernel, r.Machine.Cores, r.Machine.CPU, versions(r))
	out.WriteString("In brackets is the ratio to the limit, as median of those of each round, and after it that to the best peer.\n")
	aimsTable(&out, r)
	for _, group := range groups(r) {
		begin(&out, group, charts)
		table(&out, r, group)
		out.WriteString(end)
	}
	if len(r.Idle) > 0 {
		begin(&out, idleGroup, charts)
		idleTable(&out, r)
		out.WriteString(end)
	}
	return out.String()
}

// begin shows a group's picture; its table is folded, up to end.
func begin(out *strings.Builder, group, charts string) {
	fmt.Fprintf(out, "\n![%s](%s)\n\n<details><summary>%s, in figures</summary>\n\n", group, path.Join(charts, file(group)), group)
}

const end = "\n</details>\n"

// versions are those of the peers; Sluice's is that of the tree.
func versions(r *figure.Run) string {
	var all []string
	for _, c := range r.Contenders {
		if c.Role == figure.Peer && c.Version != "" {
			name, _, _ := strings.Cut(c.Version, " - ") // what follows is an address
			all = append(all, strings.TrimPrefix(name, c.Name+" version: "))
		}
	}
	return strings.Join(all, ", ")
}

// table has a line for each thing compared, and a column for each contender.
func table(out *strings.Builder, r *figure.Run, group string) {
	var work []figure.Workload
	var columns []string
	for _, c := range r.Contenders {
		if slices.ContainsFunc(r.Workloads, func(w figure.Workload) bool { return w.Group == group && takesPart(r, c.Name, w) }) {
			columns = append(columns, c.Name)
		}
	}
	for _, w := range r.Workloads {
		if w.Group == group {
			work = append(work, w)
		}
	}
	fmt.Fprintf(out, "| | %s |\n|%s\n", strings.Join(columns, " | "), strings.Repeat(" --- |", len(columns)+1))
	for _, w := range work {
		for _, m := range w.Metrics() {
			fmt.Fprintf(out, "| %s: %s, %s |", w.Name, m.Name, m.Unit)
			for _, c := range columns {
				fmt.Fprintf(out, " %s |", cell(r, c, w, m))
			}
			out.WriteString("\n")
		}
		for _, of := range further(w) {
			fmt.Fprintf(out, "| %s: %s |", w.Name, of.name)
			for _, c := range columns {
				text := ""
				if takesPart(r, c, w) && r.Failed(c, w) == "" {
					text = number(r.Each(c, w, of.of).Median)
				}
				fmt.Fprintf(out, " %s |", text)
			}
			out.WriteString("\n")
		}
	}
}

// further are a workload's lines that are not compared.
func further(w figure.Workload) []column {
	var lines []column
	switch w.Kind {
	case figure.Bulk, figure.Both, figure.Iperf:
	default:
		lines = append(lines,
			column{"p99, µs", func(s figure.Sample) float64 { return s.Exchange.P99 }},
			column{"p99.9, µs", func(s figure.Sample) float64 { return s.Exchange.P999 }})
	}
	return append(lines, column{"CPU of the machine, " + costUnit(w), func(s figure.Sample) float64 { return s.Cost(w) }})
}

func takesPart(r *figure.Run, name string, w figure.Workload) bool {
	return slices.ContainsFunc(r.At(w), func(c figure.Contender) bool { return c.Name == name })
}

// cell is a median, and its ratios to the limit and to the best peer, where there are
// such.
func cell(r *figure.Run, name string, w figure.Workload, m figure.Metric) string {
	switch {
	case !takesPart(r, name, w):
		return ""
	case r.Failed(name, w) != "":
		return "failed"
	}
	text := number(r.Each(name, w, m.Of).Median)
	var ratios []string
	if limit := r.Limit(w); limit != "" && limit != name {
		ratios = append(ratios, fmt.Sprintf("%.2f", r.Ratio(name, limit, w, m).Median))
	}
	if best := r.BestPeer(w, m); best != "" && role(r, name) == figure.Sluice {
		ratios = append(ratios, fmt.Sprintf("%.2f × %s", r.Ratio(name, best, w, m).Median, best))
	}
	if ratios == nil {
		return text
	}
	return fmt.Sprintf("%s (%s)", text, strings.Join(ratios, "; "))
}

func idleTable(out *strings.Builder, r *figure.Run) {
	names, memory, files := "| |", "| bytes a flow |", "| descriptors a flow |"
	for _, i := range r.Idle {
		names += " " + i.Contender + " |"
		if i.Failed != "" {
			memory, files = memory+" failed |", files+" failed |"
			continue
		}
		memory += " " + number(i.Memory) + " |"
		files += " " + number(i.Descriptors) + " |"
	}
	fmt.Fprintf(out, "%s\n|%s\n%s\n%s\n", names, strings.Repeat(" --- |", len(r.Idle)+1), memory, files)
}
