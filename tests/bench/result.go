package main

import (
	"slices"
	"time"
)

// sample is one measurement of one contender.
type sample struct {
	Contender, Workload string
	Round               int
	measured
	CPU float64 // seconds of the whole machine
	Own float64 // of these, those of the contender's own processes
}

// rate is the figure that is compared: Gbit/s, or exchanges per second.
func (s sample) rate(w workload) float64 {
	if w.Unit == "Gbit/s" {
		return float64(s.Bytes) * 8 / 1e9 / s.Seconds
	}
	return float64(s.Exchanges) / s.Seconds
}

// cost is processor time: seconds per GiB, or per 100,000 exchanges.
func (s sample) cost(w workload) float64 {
	if w.Unit == "Gbit/s" {
		return s.CPU / (float64(s.Bytes) / (1 << 30))
	}
	return s.CPU / (float64(s.Exchanges) / 1e5)
}

// results is all of a run.
type results struct {
	Machine machine
	Begun   time.Time
	Rounds  int
	Samples []sample
	Idle    []idle
}

// of are a contender's samples at a workload, by round.
func (r *results) of(contender, workload string) []sample {
	var found []sample
	for _, s := range r.Samples {
		if s.Contender == contender && s.Workload == workload {
			found = append(found, s)
		}
	}
	return found
}

// spread is the median of some figures, and the least and the most of them.
type spread struct{ Median, Min, Max float64 }

func spreadOf(figures []float64) spread {
	if len(figures) == 0 {
		return spread{}
	}
	slices.Sort(figures)
	n := len(figures)
	return spread{(figures[(n-1)/2] + figures[n/2]) / 2, figures[0], figures[n-1]}
}

// each makes a figure of each of a contender's samples.
func (r *results) each(contender string, w workload, figure func(sample) float64) spread {
	var figures []float64
	for _, s := range r.of(contender, w.Name) {
		figures = append(figures, figure(s))
	}
	return spreadOf(figures)
}

// ratio compares a contender to another one within each round.
func (r *results) ratio(contender, to string, w workload) spread {
	ours, theirs := r.of(contender, w.Name), r.of(to, w.Name)
	var figures []float64
	for i := range min(len(ours), len(theirs)) {
		figures = append(figures, ours[i].rate(w)/theirs[i].rate(w))
	}
	return spreadOf(figures)
}
