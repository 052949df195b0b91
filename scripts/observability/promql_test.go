package observability

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// query is what an expression of PromQL asks for. What it means is for promtool to
// check; this only finds the names in it.
type query struct {
	selectors []selector
	by        []string // labels of "by": those that a result has
	without   []string
	on        []string // labels that two sides are matched by
}

// selector is a metric with conditions on its labels.
type selector struct {
	metric   string
	function string // that it is an argument of, "" for none
	matchers []matcher
}

// matcher is a condition on a label.
type matcher struct{ label, op, value string }

var (
	token = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|\[[^\]]*\]|[0-9][\w.]*|[a-zA-Z_:$][\w:]*|=~|!~|!=|==|\S`)
	word  = regexp.MustCompile(`^[a-zA-Z_:]`)
	// The words that are neither a function nor a metric.
	operators  = []string{"and", "or", "unless", "bool", "offset"}
	groupings  = []string{"by", "without", "on", "ignoring", "group_left", "group_right"}
	aggregates = []string{"sum", "min", "max", "count", "avg", "group", "topk", "bottomk", "quantile"}
)

// parseQuery reads an expression that promtool takes for one.
func parseQuery(expr string) (query, error) {
	p := parser{tokens: token.FindAllString(expr, -1)}
	function := ""
	for p.more() {
		t := p.next()
		switch {
		case slices.Contains(groupings, t):
			p.grouping(t)
		case slices.Contains(operators, t), slices.Contains(aggregates, t):
		case word.MatchString(t) && p.peek() == "(":
			function = t
		case word.MatchString(t):
			p.selector(t, function)
		case t == ")":
			function = ""
		}
	}
	if p.err != nil {
		return query{}, fmt.Errorf("read %s: %w", expr, p.err)
	}
	return p.query, nil
}

type parser struct {
	tokens []string
	query  query
	err    error // the first one
}

func (p *parser) more() bool { return p.err == nil && len(p.tokens) > 0 }

func (p *parser) peek() string {
	if len(p.tokens) == 0 {
		return ""
	}
	return p.tokens[0]
}

func (p *parser) next() string {
	t := p.peek()
	if t == "" {
		p.err = fmt.Errorf("it ends too early")
		return ""
	}
	p.tokens = p.tokens[1:]
	return t
}

func (p *parser) grouping(kind string) {
	if p.peek() != "(" {
		return // group_left without labels
	}
	p.next()
	for p.more() {
		switch t := p.next(); {
		case t == ")":
			return
		case t == ",":
		case kind == "by":
			p.query.by = append(p.query.by, t)
		case kind == "without":
			p.query.without = append(p.query.without, t)
		default:
			p.query.on = append(p.query.on, t)
		}
	}
}

func (p *parser) selector(metric, function string) {
	s := selector{metric: metric, function: function}
	if p.peek() == "{" {
		p.next()
		for p.more() && p.peek() != "}" {
			if p.peek() == "," {
				p.next()
				continue
			}
			m := matcher{label: p.next(), op: p.next()}
			value, err := strconv.Unquote(p.next())
			if err != nil && p.err == nil {
				p.err = fmt.Errorf("value of %s: %w", m.label, err)
			}
			m.value = value
			s.matchers = append(s.matchers, m)
		}
		p.next()
	}
	p.query.selectors = append(p.query.selectors, s)
}

func TestParseQuery(t *testing.T) {
	tests := map[string]query{
		`up`: {selectors: []selector{{metric: "up"}}},
		`sum by (le, a) (rate(x_bucket{a="1, }", b!~"y|z"}[5m])) > 1e3`: {
			selectors: []selector{{"x_bucket", "rate", []matcher{{"a", "=", "1, }"}, {"b", "!~", "y|z"}}}},
			by:        []string{"le", "a"},
		},
		`sum without (r) (x) / on (i) group_left y{} unless z == 0 or vector(0)`: {
			selectors: []selector{{metric: "x"}, {metric: "y"}, {metric: "z"}},
			without:   []string{"r"}, on: []string{"i"},
		},
		`rate(x[$__rate_interval]) and y`: {selectors: []selector{{metric: "x", function: "rate"}, {metric: "y"}}},
	}
	for expr, want := range tests {
		got, err := parseQuery(expr)
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(query{}, selector{}, matcher{})); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", expr, diff)
		}
	}
	for _, expr := range []string{`x{`, `x{a=`, `x{a=b}`, `x{a="b"`} {
		if q, err := parseQuery(expr); err == nil {
			t.Errorf("%s is read as %v", expr, q)
		}
	}
}
