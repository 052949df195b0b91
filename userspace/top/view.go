package top

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sluice/userspace/admin"
)

// header is how many lines are above the rows, and footer below.
const (
	header = 5
	footer = 1
)

// rows is how many rows there is room for.
func (m *Model) rows() int { return max(0, m.height-header-footer) }

// View is the screen.
func (m *Model) View() string {
	lines := m.head()
	var body []string
	if m.last.status != nil && m.flows {
		body = m.flowLines()
	} else if m.last.status != nil {
		body = m.routeLines()
	}
	last := max(0, len(body)-m.rows())
	m.offset = min(m.offset, last)
	body = body[m.offset:min(len(body), m.offset+m.rows())]
	lines = append(lines, body...)
	for len(lines) < m.height-footer {
		lines = append(lines, "")
	}
	lines = append(lines, "tab routes/flows   s sort   p pause   arrows scroll   q quit")
	for i := range lines {
		lines[i] = fit(lines[i], m.width)
	}
	return strings.Join(lines, "\n")
}

// head tells of the gateway as a whole.
func (m *Model) head() []string {
	s := m.last.status
	if s == nil {
		text := "asking the agent ..."
		if m.last.err != nil {
			text = m.last.err.Error()
		}
		return []string{"sluice", text, "", "", ""}
	}
	state := s.State
	switch {
	case m.last.err != nil:
		state = "no answer since " + m.last.at.Format(time.TimeOnly) + ": " + m.last.err.Error()
	case m.paused:
		state += ", paused at " + m.last.at.Format(time.TimeOnly)
	}
	table := "no table"
	if t := s.Table; t != nil {
		table = fmt.Sprintf("table %d from %s, %d routes, %s old", t.Version, t.Source, t.Routes, age(t.Age))
	}
	room := m.width - 24
	what := "routes"
	columns := fmt.Sprintf("%-*s %7s %8s %8s %8s %8s  %s", m.nameWidth(), "ROUTE", "FLOWS", "SENT/S", "RECV/S", "BYTES", "RTT MS", "PATHS")
	if m.flows {
		what = "flows"
		columns = fmt.Sprintf("%8s %-*s %-21s %-21s %8s %8s %8s %7s  %s", "ID", m.nameWidth(), "SERVER NAME", "SOURCE", "ENDPOINT", "SENT/S", "RECV/S", "BYTES", "AGE", "PATH")
	}
	return []string{
		fmt.Sprintf("sluice %s, %s: %s; %s; %d flows; %s by %s", s.Version, s.Instance, state, table, s.Flows, what, m.by),
		fmt.Sprintf("sent     %7s/s  %s", size(s.Rates.Sent), m.sent.spark(room)),
		fmt.Sprintf("received %7s/s  %s", size(s.Rates.Received), m.received.spark(room)),
		fmt.Sprintf("begun    %7s/s  %s", size(s.Rates.Flows), m.begun.spark(room)),
		columns,
	}
}

// nameWidth is what the other columns leave of the screen.
func (m *Model) nameWidth() int {
	others := 70 // with some for the paths
	if m.flows {
		others = 104
	}
	return max(20, m.width-others)
}

func (m *Model) routeLines() []string {
	rows := sumUp(m.last.flows)
	sortRoutes(rows, m.by)
	lines := make([]string, len(rows))
	for i, r := range rows {
		name := r.name
		if name == "" {
			name = "(no route yet)"
		}
		lines[i] = fmt.Sprintf("%-*s %7d %8s %8s %8s %8.1f  %s", m.nameWidth(), fit(name, m.nameWidth()),
			r.flows, size(r.sent), size(r.received), size(float64(r.bytes)), r.rtt*1000, r.pathText())
	}
	return lines
}

func (r *routeRow) pathText() string {
	var parts []string
	for _, path := range slices.Sorted(maps.Keys(r.paths)) {
		parts = append(parts, fmt.Sprintf("%s %d", path, r.paths[path]))
	}
	if r.waiting > 0 {
		parts = append(parts, fmt.Sprintf("not carried %d", r.waiting))
	}
	return strings.Join(parts, ", ")
}

func (m *Model) flowLines() []string {
	sortFlows(m.last.flows, m.by)
	lines := make([]string, len(m.last.flows))
	for i, f := range m.last.flows {
		lines[i] = m.flowLine(f)
	}
	return lines
}

func (m *Model) flowLine(f *admin.Flow) string {
	path := f.Path
	if path == "" {
		path = f.State
	}
	endpoint := f.Endpoint
	if endpoint == "" {
		endpoint = "-"
	}
	return fmt.Sprintf("%8d %-*s %-21s %-21s %8s %8s %8s %7s  %s", f.ID, m.nameWidth(), fit(f.SNI, m.nameWidth()),
		f.Source, endpoint, size(f.SentRate), size(f.ReceivedRate), size(float64(f.Sent+f.Received)),
		age(m.last.at.Sub(f.Start).Seconds()), path)
}

// age is a time in its largest unit.
func age(seconds float64) string {
	switch {
	case seconds < 120:
		return fmt.Sprintf("%.0fs", max(0, seconds))
	case seconds < 2*3600:
		return fmt.Sprintf("%.0fm", seconds/60)
	case seconds < 48*3600:
		return fmt.Sprintf("%.0fh", seconds/3600)
	}
	return fmt.Sprintf("%.0fd", seconds/86400)
}

// fit cuts a text to a width. Server names and addresses take a cell each character.
func fit(s string, width int) string {
	r := []rune(s)
	if len(r) <= width {
		return s
	}
	if width < 1 {
		return ""
	}
	return string(r[:width-1]) + "…"
}
