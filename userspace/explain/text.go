package explain

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Text writes the explanation for people, a line for each step. What is before the
// first tab of a line is its heading; see text/tabwriter.
func (e *Explanation) Text(w io.Writer) {
	line := func(heading, format string, args ...any) { fmt.Fprintf(w, heading+":\t"+format+"\n", args...) }
	e.textName(line)
	e.textSource(line)
	e.textRoute(line)
	e.textLimit(line)
	e.textCluster(line)
	e.textPath(line)
	for _, text := range e.Warnings {
		line("Warning", "%s", text)
	}
	if r := e.Refusal; r != nil {
		line("Refused", "%s", r.Text)
		line("Counted as", "%s", r.Counted)
		line("To do", "%s", r.Do)
	} else {
		line("Served", "a flow of this name would be served")
	}
	for _, n := range e.Near {
		line("Near", "%s\t%s", n.Name, n.Leads)
	}
}

type liner func(heading, format string, args ...any)

func (e *Explanation) textName(line liner) {
	name := e.Name
	if name == "" {
		name = strconv.Quote(e.Asked)
	}
	if len(e.Changes) > 0 {
		name += " (" + strings.Join(e.Changes, ", ") + ")"
	}
	line("Name", "%s", name)
	if e.Consul != nil {
		line("Consul's", "%s", e.Consul.words())
	}
	if t := e.Table; t != nil {
		state := "whose source is there"
		switch {
		case t.Silent != "":
			state = "whose source only the gateway knows of"
		case !t.Connected && t.Away > 0:
			state = "whose source has been away for " + brief(seconds(t.Away))
		case !t.Connected:
			state = "whose source is away"
		}
		if t.Kept > 0 {
			state += ", " + count(t.Kept, "cluster") + " kept that it has lost"
		}
		from := t.Source
		if t.Index != "" {
			from += " (" + t.Index + ")"
		}
		line("Table", "%d from %s, %s, %s, unchanged for %s, %s", t.Version, from,
			count(t.Routes, "route"), count(t.Clusters, "cluster"), brief(seconds(t.Age)), state)
	}
}

// words are the parts of a name and what they are called.
func (n *Name) words() string {
	s := string(n.Form)
	add := func(what, value string) {
		if value != "" {
			s += ", " + what + " " + value
		}
	}
	if n.Service != "" {
		s += " " + n.Service
	}
	add("subset", n.Subset)
	add("namespace", n.Namespace)
	add("partition", n.Partition)
	add("node", n.Node)
	add("datacenter", n.Datacenter)
	add("peer", n.Peer)
	if n.Form == Servers || n.Form == Server {
		add("domain", n.Domain)
	} else {
		add("trust domain", n.Domain)
	}
	return strings.Replace(s, "datacenter, datacenter ", "datacenter ", 1)
}

func (e *Explanation) textRoute(line liner) {
	if e.Route == nil {
		if e.Table != nil {
			line("Route", "none, neither for the name nor by a wildcard")
		}
		return
	}
	line("Route", "%s (%s: %s)", e.Route.Name, e.Route.Match, e.Route.Why)
	for _, name := range e.Route.Passed {
		line("Passed over", "%s", name)
	}
	line("Leads to", "%s", e.Leads.Text)
}

func (e *Explanation) textLimit(line liner) {
	l := e.Limit
	if l == nil {
		return
	}
	text := fmt.Sprintf("%s now, no limit", count(int(l.Active), "flow"))
	if l.Max > 0 {
		text = fmt.Sprintf("%s now of %d at most (%s)", count(int(l.Active), "flow"), l.Max, whose[l.From])
	}
	if l.MaxAll > 0 {
		text += fmt.Sprintf("; of all routes %d, of %d at most", l.All, l.MaxAll)
	}
	line("Flows", "%s", text)
}

func (e *Explanation) textCluster(line liner) {
	c := e.Cluster
	if c == nil {
		return
	}
	text := c.Name + ", " + c.Policy
	if c.ConnectTimeout > 0 {
		text += fmt.Sprintf(", %s to connect (the %s's)", seconds(c.ConnectTimeout), c.TimeoutFrom)
	}
	if c.Attempts > 0 {
		text += ", " + count(c.Attempts, "attempt")
	}
	if c.DNS != "" {
		text += ", " + c.DNS + " DNS"
	}
	if c.SendProxy {
		text += ", with a PROXY header"
	}
	line("Cluster", "%s", text)
	if p := c.Panic; p.Hosts > 0 {
		rule := fmt.Sprintf("panic rule below %d %%: not in force", p.Threshold)
		switch {
		case p.On:
			rule = fmt.Sprintf("panic rule below %d %%: in force", p.Threshold)
		case p.Threshold < 0:
			rule = "no panic rule"
		}
		line("Healthy", "%d of %s, %d %%; %s", p.Healthy, count(p.Hosts, "host"), 100*p.Healthy/p.Hosts, rule)
	}
	for i := range c.Endpoints {
		c.Endpoints[i].text(line)
	}
}

func (e *Endpoint) text(line liner) {
	name := e.Name
	if len(e.Addrs) > 1 || len(e.Addrs) == 1 && e.Addrs[0].String() != name {
		var addrs []string
		for _, a := range e.Addrs {
			addrs = append(addrs, a.String())
		}
		name += " (" + strings.Join(addrs, ", ") + ")"
	}
	taken := "not taken: " + e.Why
	if e.Taken {
		taken = fmt.Sprintf("taken for %.0f %%: %s", 100*e.Share, e.Why)
	}
	line("Endpoint", "%s\tweight %d\t%s\t%s", name, e.Weight, e.Health, taken)
}

func (e *Explanation) textPath(line liner) {
	p := e.Path
	if p == nil {
		return
	}
	from := whose[p.From]
	if from == "" {
		from = "nobody has set one"
	}
	text := fmt.Sprintf("%s (wanted: %s, %s): %s", p.Name, p.Wanted, from, p.Why)
	if p.Credit > 0 {
		text += fmt.Sprintf("; credit of %d bytes", p.Credit)
	}
	line("Path", "%s", text)
}

// count is a number and what it is of.
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return strconv.Itoa(n) + " " + noun
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// brief is a time without what nobody reads of it.
func brief(d time.Duration) string {
	if d >= time.Second {
		d = d.Round(time.Second)
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}
