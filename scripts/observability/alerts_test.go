package observability

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sluice/userspace/flow"
)

// rule is an alert as alerts.yaml has it.
type rule struct {
	name, expr           string
	summary, description string
	severity             string
}

var (
	ruleStart = regexp.MustCompile(`(?m)^      - alert: (\w+)$`)
	severity  = regexp.MustCompile(`(?m)^        labels: \{severity: (critical|warning)\}$`)
	// A value is the rest of its line, or after >- the lines below that are indented more.
	ruleExpr    = regexp.MustCompile(`(?m)^        expr: (?:>-\n((?:          .*\n)+)|(.*)$)`)
	summary     = regexp.MustCompile(`(?m)^          summary: (?:>-\n((?:            .*\n)+)|"(.*)"$)`)
	description = regexp.MustCompile(`(?m)^          description: (?:>-\n((?:            .*\n)+)|"(.*)"$)`)
	template    = regexp.MustCompile(`\{\{.*?\}\}`)
	label       = regexp.MustCompile(`^\{\{ *\$labels\.(\w+)`)
)

// rules reads alerts.yaml by the form that it keeps to. Whether it is YAML that
// Prometheus takes is for promtool to say.
func rules(t *testing.T) []rule {
	t.Helper()
	text := read(t, "alerts.yaml")
	starts := ruleStart.FindAllStringSubmatchIndex(text, -1)
	var all []rule
	for i, at := range starts {
		end := len(text)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		body := text[at[0]:end]
		value := func(field *regexp.Regexp) string {
			m := append(field.FindStringSubmatch(body), "", "", "")
			return strings.Join(strings.Fields(m[1]+m[2]), " ")
		}
		all = append(all, rule{
			name: text[at[2]:at[3]], expr: value(ruleExpr), severity: value(severity),
			summary: value(summary), description: value(description),
		})
	}
	if n := strings.Count(text, "alert:"); len(all) != n || n == 0 {
		t.Fatalf("alerts.yaml: %d of %d rules are read", len(all), n)
	}
	return all
}

// TestRules: each rule asks for what there is, says what to do, and is tried out.
func TestRules(t *testing.T) {
	c := known(t)
	scenarios := ""
	for _, file := range files(t) {
		scenarios += read(t, file)
	}
	for _, r := range rules(t) {
		t.Run(r.name, func(t *testing.T) {
			q, err := parseQuery(r.expr)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.lacks(q); err != nil {
				t.Error(err)
			}
			if r.severity == "" || r.description == "" {
				t.Errorf("severity %q, description %q", r.severity, r.description)
			}
			if !strings.HasPrefix(r.summary, "{{ $labels.instance }}: ") {
				t.Errorf("the summary does not begin with the instance: %q", r.summary)
			}
			for _, part := range template.FindAllString(r.summary+r.description, -1) {
				if m := label.FindStringSubmatch(part); m != nil && !c.results(q, m[1]) {
					t.Errorf("%s: its expression has no such label", part)
				}
			}
			if !strings.Contains(scenarios, `alertname="`+r.name+`"`) {
				t.Error("it fires in no scenario")
			}
		})
	}
}

// TestFlagsNamed: a description that names a flag, names one that the README has.
func TestFlagsNamed(t *testing.T) {
	readme := read(t, "../../README.md")
	named := regexp.MustCompile("`(-[a-z][a-z-]*)`")
	n := 0
	for _, r := range rules(t) {
		for _, m := range named.FindAllStringSubmatch(r.description, -1) {
			n++
			if !regexp.MustCompile("`(?:[^`]* )?" + m[1] + "[` ]").MatchString(readme) {
				t.Errorf("%s: the README does not know %s", r.name, m[1])
			}
		}
	}
	if n == 0 {
		t.Error("no flag was found: how they are written has changed")
	}
}

// TestRefusalsCovered: each reason of a refusal has a rule, or is nobody's concern.
func TestRefusalsCovered(t *testing.T) {
	covered := map[string]bool{
		flow.Probe.String():      true, // Consul's checks
		flow.ClientGone.String(): true, // its own choice
		flow.Draining.String():   true, // an operator's
	}
	for _, r := range rules(t) {
		q, err := parseQuery(r.expr)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range q.selectors {
			for _, m := range s.matchers {
				if s.metric != "sluice_refusals_total" || m.label != "reason" {
					continue
				}
				for reason := range strings.SplitSeq(m.value, "|") {
					covered[reason] = true
				}
			}
		}
	}
	for _, end := range flow.Ends() {
		if end.Refused() && !covered[end.String()] {
			t.Errorf("no rule for refusals of reason %s", end)
		}
	}
}

// TestPromtool has Prometheus's own tool check the rules, and try them out.
func TestPromtool(t *testing.T) {
	promtool(t, "check", "rules", "alerts.yaml")
	promtool(t, append([]string{"test", "rules"}, files(t)...)...)
}

// TestScenariosCanFail: promtool finds a scenario that is not as it says.
func TestScenariosCanFail(t *testing.T) {
	const right = `alertname="SluiceDown", instance="a"`
	text := read(t, "testdata/gateway.yaml")
	wrong := strings.Replace(text, right, `alertname="SluiceDown", instance="b"`, 1)
	if wrong == text {
		t.Fatalf("testdata/gateway.yaml has no %s", right)
	}
	rules, err := filepath.Abs("alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	wrong = strings.Replace(wrong, "../alerts.yaml", rules, 1)
	file := filepath.Join(t.TempDir(), "wrong.yaml")
	if err := os.WriteFile(file, []byte(wrong), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(promtoolPath(t), "test", "rules", file).CombinedOutput()
	if err == nil || !strings.Contains(string(out), `instance="b"`) {
		t.Errorf("promtool takes a wrong scenario: %v\n%s", err, out)
	}
}

// promtool runs it, and fails the test if it does.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(promtoolPath(t), args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func promtoolPath(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("promtool is not installed, and CI=true allows no skipping")
		}
		t.Skip("promtool is not installed: see scripts/packages.sh")
	}
	return path
}

// files are those of the scenarios.
func files(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(all) == 0 {
		t.Fatalf("scenarios: %q, %v", all, err)
	}
	slices.Sort(all)
	return all
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
