package observability

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/userspace/local"
	"sluice/userspace/metrics"
	"sluice/userspace/route"
	"sluice/userspace/slot"
	"sluice/userspace/sockmap"
)

// prometheus are the series that Prometheus makes itself.
const prometheus = `
# TYPE up gauge
up 1
# TYPE ALERTS gauge
ALERTS{alertname="SluiceDown",alertstate="firing",severity="critical"} 1
`

// targetLabels are those that Prometheus puts on all that it scrapes.
var targetLabels = []string{"job", "instance"}

// openLabels have values that nobody can know before.
var openLabels = []string{"route", "map", "version", "go_version", "job", "instance"}

// catalogue is what can be asked for, by the names of series.
type catalogue map[string]*family

// family is a metric, or a part of one such as its buckets.
type family struct {
	counter bool // it only grows
	labels  map[string][]string
}

// read adds what an exposition in Prometheus's text format has.
func (c catalogue) read(t *testing.T, text string) {
	t.Helper()
	var name, kind string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if n, err := fmt.Sscanf(line, "# TYPE %s %s", &name, &kind); n == 2 && err == nil || line == "" || line[0] == '#' {
			continue
		}
		q, err := parseQuery(line) // a sample is a selector and a number
		if err != nil || len(q.selectors) != 1 {
			t.Fatalf("sample %q: %+v, %v", line, q, err)
		}
		s := q.selectors[0]
		f := c[s.metric]
		if f == nil {
			// The parts of histograms and summaries count, but for quantiles.
			part := kind == "histogram" || kind == "summary" && s.metric != name
			f = &family{counter: kind == "counter" || part, labels: make(map[string][]string)}
			c[s.metric] = f
		}
		for _, m := range s.matchers {
			f.labels[m.label] = append(f.labels[m.label], m.value)
		}
	}
}

// has tells whether the series can have the label.
func (f *family) has(label string) bool {
	_, ok := f.labels[label]
	return ok || slices.Contains(targetLabels, label)
}

// lacks tells what of the query is not there, or is not what it is taken for.
func (c catalogue) lacks(q query) error {
	var errs []error
	for _, s := range q.selectors {
		f := c[s.metric]
		if f == nil {
			errs = append(errs, fmt.Errorf("no metric %s", s.metric))
			continue
		}
		if grows := s.function == "rate" || s.function == "increase"; grows != f.counter {
			errs = append(errs, fmt.Errorf("%s: counter: %v, taken for one: %v", s.metric, f.counter, grows))
		}
		for _, m := range s.matchers {
			errs = append(errs, f.lacks(s.metric, m))
		}
	}
	for _, label := range slices.Concat(q.by, q.without, q.on) {
		if !slices.ContainsFunc(q.selectors, func(s selector) bool { return c[s.metric] != nil && c[s.metric].has(label) }) {
			errs = append(errs, fmt.Errorf("no metric has the label %s", label))
		}
	}
	return errors.Join(errs...)
}

// lacks tells which label or value of the condition the family never has.
func (f *family) lacks(metric string, m matcher) error {
	if !f.has(m.label) {
		return fmt.Errorf("%s has no label %s", metric, m.label)
	}
	if slices.Contains(openLabels, m.label) {
		return nil
	}
	alternatives := []string{regexp.QuoteMeta(m.value)}
	if strings.HasSuffix(m.op, "~") {
		alternatives = strings.Split(m.value, "|")
	}
	for _, a := range alternatives {
		re, err := regexp.Compile("^(?:" + a + ")$")
		if err != nil {
			return fmt.Errorf("%s: %w", metric, err)
		}
		if !slices.ContainsFunc(f.labels[m.label], re.MatchString) {
			return fmt.Errorf("%s: %s is never %s", metric, m.label, a)
		}
	}
	return nil
}

// results tells whether what the query gives can have the label.
func (c catalogue) results(q query, label string) bool {
	if len(q.by) > 0 {
		return slices.Contains(q.by, label)
	}
	return !slices.Contains(q.without, label) && slices.ContainsFunc(q.selectors, func(s selector) bool {
		return c[s.metric] != nil && c[s.metric].has(label)
	})
}

// known scrapes a gateway's registry, and adds what else there is.
func known(t *testing.T) catalogue {
	t.Helper()
	c := make(catalogue)
	c.read(t, scrape(t))
	if len(c) == 0 {
		t.Fatal("nothing was scraped")
	}
	c.read(t, prometheus)
	return c
}

// scrape is what a gateway tells Prometheus.
func scrape(t *testing.T) string {
	t.Helper()
	m := metrics.New(metrics.Sources{
		Active:        func() int { return 0 },
		Bytes:         func() (sent, received uint64) { return 0, 0 },
		Table:         func() (*route.Table, time.Duration) { return nil, 0 },
		Source:        func() (bool, time.Time, int) { return true, time.Time{}, 0 },
		StateFailures: func() uint64 { return 0 },
		AccessDropped: func() uint64 { return 0 },
		Draining:      func() bool { return false },
		Unready:       func() error { return nil },
		Sockmap: func() metrics.Sockmap {
			s := metrics.Sockmap{Fallbacks: new(sockmap.Engine).Fallen(), Pieces: make(map[string]uint64)}
			for r := range slot.Reasons {
				s.Pieces[r.String()] = 0
			}
			return s
		},
		Local: func() metrics.Local {
			l := metrics.Local{Fallbacks: new(local.Engine).Fallen(), Messages: make(map[string]uint64)}
			for m := range slot.Messages {
				l.Messages[m.String()] = 0
			}
			return l
		},
		Routes: func(each func(*metrics.Route)) { each(&metrics.Route{Name: "web", Flows: 1}) },
		Maps:   func() []metrics.Map { return []metrics.Map{{Name: "routes"}} },
	})
	m.RTT(time.Millisecond, time.Millisecond)
	page := httptest.NewRecorder()
	m.Handler().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	if page.Code != 200 {
		t.Fatalf("/metrics: status %d: %s", page.Code, page.Body)
	}
	return page.Body.String()
}

// TestLacks: a check that finds nothing wrong proves nothing unless it can.
func TestLacks(t *testing.T) {
	c := known(t)
	tests := map[string]string{
		`sluice_gone`:                                                  "no metric sluice_gone",
		`rate(sluice_ready[5m])`:                                       "sluice_ready: counter: false, taken for one: true",
		`sluice_refusals_total`:                                        "sluice_refusals_total: counter: true, taken for one: false",
		`sluice_ready{reason="x"}`:                                     "sluice_ready has no label reason",
		`rate(sluice_flows_total{reason="gone"}[5m])`:                  "sluice_flows_total: reason is never gone",
		`rate(sluice_flows_total{reason!~"closed|g"}[5m])`:             "sluice_flows_total: reason is never g",
		`sum by (reason) (sluice_ready)`:                               "no metric has the label reason",
		`rate(sluice_refusals_total{reason="closed"}[5m])`:             "sluice_refusals_total: reason is never closed", // not a refusal
		`sluice_ready{instance=~"$instance"}`:                          "",
		`increase(sluice_hello_seconds_bucket[5m])`:                    "",
		`rate(sluice_sockmap_pieces_total{verdict=~"credit|gap"}[5m])`: "",
		`rate(sluice_sockmap_fallbacks_total{reason="full"}[5m])`:      "",
		`sluice_rtt_seconds{side="downstream"}`:                        "",
	}
	for expr, want := range tests {
		q, err := parseQuery(expr)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(c.lacks(q)); got != want && (want != "" || got != "<nil>") {
			t.Errorf("%s: %s, want %s", expr, got, want)
		}
	}
}
