package figure

// At are the contenders that took part in a workload, in the order of the run.
func (r *Run) At(w Workload) []Contender {
	var found []Contender
	for _, c := range r.Contenders {
		if len(r.turns(c.Name, w)) > 0 {
			found = append(found, c)
		}
	}
	return found
}

// turns are a contender's samples at a workload, failed ones too.
func (r *Run) turns(contender string, w Workload) []Sample {
	var found []Sample
	for _, s := range r.Samples {
		if s.Contender == contender && s.Workload == w.Name {
			found = append(found, s)
		}
	}
	return found
}

// Failed is why a contender failed at a workload, or empty.
func (r *Run) Failed(contender string, w Workload) string {
	for _, s := range r.turns(contender, w) {
		if s.Failed != "" {
			return s.Failed
		}
	}
	return ""
}

// Each makes a figure of each of a contender's turns at a workload. Who failed once
// has none.
func (r *Run) Each(contender string, w Workload, of func(Sample) float64) Spread {
	if r.Failed(contender, w) != "" {
		return Spread{}
	}
	var figures []float64
	for _, s := range r.turns(contender, w) {
		figures = append(figures, of(s))
	}
	return SpreadOf(figures)
}

// Ratio compares a contender to another one within each round: its figure divided by
// the other's. It is zero where one of them has none.
func (r *Run) Ratio(contender, to string, w Workload, m Metric) Spread {
	if r.Failed(contender, w) != "" || r.Failed(to, w) != "" {
		return Spread{}
	}
	theirs := map[int]float64{}
	for _, s := range r.turns(to, w) {
		theirs[s.Round] = m.Of(s)
	}
	var figures []float64
	for _, s := range r.turns(contender, w) {
		if of := theirs[s.Round]; of > 0 {
			figures = append(figures, m.Of(s)/of)
		}
	}
	return SpreadOf(figures)
}

// Limit is the name of who is the limit at a workload, or empty.
func (r *Run) Limit(w Workload) string {
	for _, c := range r.At(w) {
		if c.Role == Limit {
			return c.Name
		}
	}
	return ""
}

// BestPeer is the name of the peer with the best median, or empty if there is none.
func (r *Run) BestPeer(w Workload, m Metric) string {
	best, name := 0.0, ""
	for _, c := range r.At(w) {
		got := r.Each(c.Name, w, m.Of).Median
		if c.Role != Peer || got == 0 {
			continue
		}
		if name == "" || m.Less && got < best || !m.Less && got > best {
			best, name = got, c.Name
		}
	}
	return name
}
