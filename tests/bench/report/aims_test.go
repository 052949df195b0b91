package report

import (
	"strings"
	"testing"

	"sluice/tests/bench/figure"
)

func TestAimLine(t *testing.T) {
	spread := func(f float64) figure.Spread { return figure.Spread{Median: f, Min: f - .1, Max: f + .1} }
	for _, c := range []struct {
		less bool
		got  float64
		want string
	}{
		{false, 1.2, "| at least 1.20 | 1.20 (1.10-1.30) | reached |"},
		{false, 1.19, "| at least 1.20 | 1.19 (1.09-1.29) | **not reached** |"},
		{true, 1.2, "| at most 1.20 | 1.20 (1.10-1.30) | reached |"},
		{true, 1.21, "| at most 1.20 | 1.21 (1.11-1.31) | **not reached** |"},
	} {
		if got := aimLine("a", "b", 1.2, c.less, spread(c.got)); got != "| a | b "+c.want+"\n" {
			t.Errorf("%v, less is better: %v: %s", c.got, c.less, got)
		}
	}
}

// TestAimsOfPart: what was not measured, or failed, is neither reached nor not.
func TestAimsOfPart(t *testing.T) {
	r := example()
	r.Workloads, r.Idle = r.Workloads[:1], nil
	for i := range r.Samples {
		if s := &r.Samples[i]; s.Contender == "haproxy" {
			s.Failed = "it does"
		}
	}
	var out strings.Builder
	aimsTable(&out, r)
	if got := strings.Count(out.String(), "\n"); got != 4 || !strings.Contains(out.String(), "IP forwarding") {
		t.Errorf("want one aim:\n%s", out.String())
	}
	r.Workloads = nil
	out.Reset()
	if aimsTable(&out, r); out.Len() > 0 {
		t.Errorf("want no table:\n%s", out.String())
	}
}
