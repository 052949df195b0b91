package report

import (
	"fmt"
	"strings"

	"sluice/tests/bench/chart"
	"sluice/tests/bench/figure"
)

// idleGroup is the picture of idle flows, which are no workload.
const idleGroup = "Idle flows"

// groups are those of the run's workloads, in their order.
func groups(r *figure.Run) []string {
	var names []string
	seen := map[string]bool{}
	for _, w := range r.Workloads {
		if !seen[w.Group] {
			seen[w.Group] = true
			names = append(names, w.Group)
		}
	}
	return names
}

// file is a group's picture's.
func file(group string) string {
	return strings.ReplaceAll(strings.ToLower(group), " ", "-") + ".svg"
}

// pictures draws all of them, by the names of their files.
func pictures(r *figure.Run) map[string][]byte {
	all := map[string][]byte{}
	for _, group := range groups(r) {
		all[file(group)] = chart.Draw(group, panels(r, group))
	}
	if len(r.Idle) > 0 {
		all[file(idleGroup)] = chart.Draw(idleGroup, idlePanels(r))
	}
	return all
}

func panels(r *figure.Run, group string) []chart.Panel {
	var all []chart.Panel
	lookups := r.Lookups
	for _, w := range r.Workloads {
		if w.Group != group {
			continue
		}
		for _, m := range w.Metrics() {
			if m.Drawn {
				all = append(all, panel(r, w, m))
			}
		}
		if w.Routes == 0 {
			lookups = nil
		}
	}
	if len(all) > 0 && len(lookups) > 0 {
		all = append(all, lookupPanel(lookups))
	}
	return all
}

func panel(r *figure.Run, w figure.Workload, m figure.Metric) chart.Panel {
	p := chart.Panel{Title: fmt.Sprintf("%s: %s, %s", w.Name, m.Name, m.Unit)}
	if m.Unit == "/s" {
		p.Title = fmt.Sprintf("%s: %s per second", w.Name, m.Name)
	}
	if m.Less {
		p.Title += " (less is better)"
	}
	for _, c := range r.At(w) {
		got := r.Each(c.Name, w, m.Of)
		bar := chart.Bar{Name: c.Name, Class: string(c.Role), Value: got.Median, Min: got.Min, Max: got.Max, Note: number(got.Median)}
		if r.Failed(c.Name, w) != "" {
			bar.Note = "failed"
		}
		p.Bars = append(p.Bars, bar)
	}
	return p
}

func lookupPanel(lookups []figure.Lookup) chart.Panel {
	p := chart.Panel{Title: "Sluice's look-up alone, ns (less is better)"}
	for _, l := range lookups {
		name := thousands(fmt.Sprint(l.Routes)) + " routes"
		p.Bars = append(p.Bars, chart.Bar{Name: name, Class: string(figure.Sluice), Value: l.Nanoseconds, Note: number(l.Nanoseconds)})
	}
	return p
}

func idlePanels(r *figure.Run) []chart.Panel {
	of := fmt.Sprintf(" of each of %s flows (less is better)", thousands(fmt.Sprint(r.Idle[0].Flows)))
	memory, files := chart.Panel{Title: "Bytes" + of}, chart.Panel{Title: "Descriptors" + of}
	for _, i := range r.Idle {
		bar := chart.Bar{Name: i.Contender, Class: string(role(r, i.Contender)), Note: "failed"}
		m, f := bar, bar
		if i.Failed == "" {
			m.Value, m.Note = i.Memory, number(i.Memory)
			f.Value, f.Note = i.Descriptors, number(i.Descriptors)
		}
		memory.Bars, files.Bars = append(memory.Bars, m), append(files.Bars, f)
	}
	return []chart.Panel{memory, files}
}

func role(r *figure.Run, name string) figure.Role {
	for _, c := range r.Contenders {
		if c.Name == name {
			return c.Role
		}
	}
	return ""
}
