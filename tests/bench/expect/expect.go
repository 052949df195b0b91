// Package expect tells whether a path of Sluice has lost speed.
//
// What is expected are ratios, for rates differ from machine to machine and from hour
// to hour: of each of Sluice's paths at each quick workload to the references, the
// limit and HAProxy. A path has lost when it fell short by more than the margin to both of
// them: a turn in which one reference did unusually well is not Sluice's.
package expect

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"sluice/tests/bench/figure"
)

// Expected is what is committed.
type Expected struct {
	Note   string  // for who opens the file
	Margin float64 // the share of a ratio that may be lost
	Ratios []Ratio
}

// Ratio is a path's figure at a workload, divided by each reference's.
type Ratio struct {
	Contender, Workload, Metric string
	To                          map[string]float64
}

// margin is wide: it is there to catch a third of the speed, on machines with other
// work to do.
const margin = 0.33

const note = "Medians of ratios, of `make bench BENCH=quick`. To renew: run that on a quiet machine, then `make bench-expect`, and say in the commit why they changed."

// haproxy is the peer that is referred to.
const haproxy = "haproxy"

// Of takes the expectations from a run.
func Of(r *figure.Run) (Expected, error) {
	e := Expected{Note: note, Margin: margin}
	for _, w := range r.Workloads {
		for _, c := range r.At(w) {
			if c.Role != figure.Sluice {
				continue
			}
			if why := r.Failed(c.Name, w); why != "" {
				return Expected{}, fmt.Errorf("%s failed at %s: %s", c.Name, w.Name, why)
			}
			for _, m := range w.Metrics() {
				to := ratios(r, c.Name, w, m)
				if len(to) == 0 {
					return Expected{}, fmt.Errorf("%s at %s: neither the limit nor haproxy was measured", c.Name, w.Name)
				}
				e.Ratios = append(e.Ratios, Ratio{c.Name, w.Name, m.Name, to})
			}
		}
	}
	if e.Ratios == nil {
		return Expected{}, errors.New("the run has no path of Sluice")
	}
	return e, nil
}

// ratios are to three digits, so that files differ where figures do.
func ratios(r *figure.Run, name string, w figure.Workload, m figure.Metric) map[string]float64 {
	all := map[string]float64{}
	for _, to := range []string{r.Limit(w), haproxy} {
		if median := r.Ratio(name, to, w, m).Median; median > 0 {
			all[to] = float64(int(median*1000+.5)) / 1000
		}
	}
	return all
}

// Verdict is what a run says about one expectation.
type Verdict struct {
	Ratio                    // as expected
	Got   map[string]float64 // by reference
	Lost  bool
}

// Check compares a run to what was expected. The error tells what the run lacks.
func (e Expected) Check(r *figure.Run) ([]Verdict, error) {
	if e.Margin <= 0 || e.Margin >= 1 {
		return nil, fmt.Errorf("the margin is %v, want more than 0 and less than 1", e.Margin)
	}
	if len(e.Ratios) == 0 {
		return nil, errors.New("nothing is expected")
	}
	var all []Verdict
	for _, want := range e.Ratios {
		v, err := e.check(r, want)
		if err != nil {
			return nil, fmt.Errorf("%s at %s: %w", want.Contender, want.Workload, err)
		}
		all = append(all, v)
	}
	return all, nil
}

func (e Expected) check(r *figure.Run, want Ratio) (Verdict, error) {
	w, m, err := find(r, want)
	if err != nil {
		return Verdict{}, err
	}
	if why := r.Failed(want.Contender, w); why != "" {
		return Verdict{}, fmt.Errorf("it failed: %s", why)
	}
	v := Verdict{Ratio: want, Got: ratios(r, want.Contender, w, m)}
	compared := 0
	v.Lost = true
	for to, expected := range want.To {
		got, ok := v.Got[to]
		if !ok {
			continue
		}
		compared++
		v.Lost = v.Lost && e.short(m, got, expected)
	}
	if compared == 0 {
		return Verdict{}, errors.New("the run has none of the references that the expectation has")
	}
	return v, nil
}

// short tells whether a ratio is worse than the margin allows. Where less is better, the
// speed is the ratio's inverse.
func (e Expected) short(m figure.Metric, got, expected float64) bool {
	if m.Less {
		got, expected = expected, got
	}
	return got < expected*(1-e.Margin)
}

func find(r *figure.Run, want Ratio) (figure.Workload, figure.Metric, error) {
	for _, w := range r.Workloads {
		if w.Name != want.Workload {
			continue
		}
		for _, m := range w.Metrics() {
			if m.Name == want.Metric {
				return w, m, nil
			}
		}
	}
	return figure.Workload{}, figure.Metric{}, fmt.Errorf("the run has no %q of that workload", want.Metric)
}

// String is a line for a terminal.
func (v Verdict) String() string {
	word := "ok  "
	if v.Lost {
		word = "LOST"
	}
	var parts []string
	for _, to := range slices.Sorted(maps.Keys(v.To)) {
		if got, ok := v.Got[to]; ok {
			parts = append(parts, fmt.Sprintf("%.2f of %s, expected %.2f", got, to, v.To[to]))
		}
	}
	return fmt.Sprintf("%s  %s, %s, %s: %s", word, v.Contender, v.Workload, v.Metric, strings.Join(parts, "; "))
}

// Load reads expectations from a file.
func Load(path string) (Expected, error) {
	var e Expected
	text, err := os.ReadFile(path)
	if err != nil {
		return e, err
	}
	if err := json.Unmarshal(text, &e); err != nil {
		return e, fmt.Errorf("%s: %w", path, err)
	}
	return e, nil
}

// Write puts expectations into a file.
func (e Expected) Write(path string) error {
	text, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
