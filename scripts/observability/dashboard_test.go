package observability

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// dashboard is the part of Grafana's model that can go wrong by hand.
type dashboard struct {
	UID, Title    string
	SchemaVersion int
	Annotations   struct{ List []annotation }
	Templating    struct{ List []variable }
	Panels        []panel
}

type annotation struct {
	Name, Expr string
	Datasource source
}

type variable struct {
	Name, Type string
	Datasource source
	Query      json.RawMessage // a string, or an object with one
}

type panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ X, Y, W, H int }
	Datasource               source
	FieldConfig              struct{ Defaults struct{ Unit string } }
	Options                  struct{ Calculate bool }
	Targets                  []struct{ RefID, Expr, LegendFormat, Format string }
}

type source struct{ Type, UID string }

// chosen is the data source that the variable chooses.
var chosen = source{"prometheus", "${datasource}"}

func load(t *testing.T) *dashboard {
	t.Helper()
	d := new(dashboard)
	if err := json.Unmarshal([]byte(read(t, "dashboard.json")), d); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDashboardQueries holds all that is asked for against what there is.
func TestDashboardQueries(t *testing.T) {
	c := known(t)
	inBraces := regexp.MustCompile(`\{\{ *(\w+) *\}\}`)
	check := func(where, expr, legend string) {
		t.Helper()
		q, err := parseQuery(expr)
		if err != nil {
			t.Errorf("%s: %v", where, err)
			return
		}
		if err := c.lacks(q); err != nil {
			t.Errorf("%s: %v", where, err)
		}
		for _, s := range q.selectors {
			if !slices.Contains(s.matchers, matcher{"instance", "=~", "$instance"}) {
				t.Errorf("%s: %s is not of the gateways chosen", where, s.metric)
			}
			if byRoute := slices.Contains(s.matchers, matcher{"route", "=~", "$route"}); byRoute != strings.HasPrefix(s.metric, "sluice_route_") {
				t.Errorf("%s: %s is of the routes chosen: %v", where, s.metric, byRoute)
			}
		}
		for _, m := range inBraces.FindAllStringSubmatch(legend, -1) {
			if !c.results(q, m[1]) {
				t.Errorf("%s: %s: its expression has no such label", where, m[0])
			}
		}
	}
	d := load(t)
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			check(p.Title, target.Expr, target.LegendFormat)
		}
	}
	for _, a := range d.Annotations.List {
		check(a.Name, a.Expr, "")
	}
}

// TestDashboardSyntax has promtool read all expressions, as rules.
func TestDashboardSyntax(t *testing.T) {
	var file strings.Builder
	file.WriteString("groups:\n  - name: dashboard\n    rules:\n")
	n := 0
	add := func(expr string) {
		n++
		expr = strings.ReplaceAll(expr, "$__rate_interval", "5m")
		fmt.Fprintf(&file, "      - {record: \"panel:%d\", expr: %q}\n", n, expr)
	}
	d := load(t)
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			add(target.Expr)
		}
	}
	for _, a := range d.Annotations.List {
		add(a.Expr)
	}
	name := filepath.Join(t.TempDir(), "dashboard.yaml")
	if err := os.WriteFile(name, []byte(file.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", name)
	if t.Failed() {
		t.Log(file.String())
	}
}

// TestDashboardVariables: what panels are told to use is there to choose.
func TestDashboardVariables(t *testing.T) {
	c := known(t)
	labelValues := regexp.MustCompile(`label_values\((.*), (\w+)\)`)
	var names []string
	d := load(t)
	for _, v := range d.Templating.List {
		names = append(names, v.Name+" "+v.Type)
		if v.Type == "datasource" {
			if string(v.Query) != `"prometheus"` {
				t.Errorf("%s: of kind %s", v.Name, v.Query)
			}
			continue
		}
		if v.Datasource != chosen {
			t.Errorf("%s: from %v", v.Name, v.Datasource)
		}
		var query struct{ Query string }
		if err := json.Unmarshal(v.Query, &query); err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		m := labelValues.FindStringSubmatch(query.Query)
		if m == nil {
			t.Errorf("%s: %s", v.Name, query.Query)
			continue
		}
		q, err := parseQuery(m[1])
		if err != nil {
			t.Fatal(err)
		}
		if s := q.selectors[0]; c[s.metric] == nil || !c.results(q, m[2]) || m[2] != v.Name {
			t.Errorf("%s: %s has no such label", v.Name, s.metric)
		}
	}
	if want := []string{"datasource datasource", "instance query", "route query"}; !slices.Equal(names, want) {
		t.Errorf("variables %q, want %q", names, want)
	}
}

// TestDashboardPanels: each has what its reader needs, and a place of its own.
func TestDashboardPanels(t *testing.T) {
	d := load(t)
	if d.UID == "" || d.Title == "" || d.SchemaVersion < 38 {
		t.Errorf("uid %q, title %q, schema %d", d.UID, d.Title, d.SchemaVersion)
	}
	ids := make(map[int]bool)
	taken := make(map[[2]int]string)
	for _, p := range d.Panels {
		if p.ID == 0 || ids[p.ID] {
			t.Errorf("%s: id %d is taken", p.Title, p.ID)
		}
		ids[p.ID] = true
		g := p.GridPos
		if g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > 24 {
			t.Errorf("%s: at %+v", p.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok {
					t.Fatalf("%s lies on %s", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type != "row" {
			p.check(t)
		}
	}
}

// check is for panels that show something.
func (p *panel) check(t *testing.T) {
	t.Helper()
	if p.Title == "" || p.Description == "" || len(p.Targets) == 0 || p.Datasource != chosen {
		t.Errorf("%q: described by %q, %d targets, from %v", p.Title, p.Description, len(p.Targets), p.Datasource)
	}
	if p.Type != "heatmap" && p.FieldConfig.Defaults.Unit == "" {
		t.Errorf("%s: no unit", p.Title)
	}
	refs := make(map[string]bool)
	for _, target := range p.Targets {
		if target.RefID == "" || refs[target.RefID] {
			t.Errorf("%s: two targets are %q", p.Title, target.RefID)
		}
		refs[target.RefID] = true
		// Grafana reads buckets as such only when told, and then counts nothing itself.
		if p.Type == "heatmap" && (target.Format != "heatmap" || p.Options.Calculate) {
			t.Errorf("%s: its buckets are not taken for those of a histogram", p.Title)
		}
	}
}
