package figure

import "slices"

// Spread is the median of some figures, and the least and the most of them; all 0
// when there are none.
type Spread struct{ Median, Min, Max float64 }

// SpreadOf leaves the figures as they are.
func SpreadOf(figures []float64) Spread {
	if len(figures) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(figures))
	n := len(sorted)
	return Spread{(sorted[(n-1)/2] + sorted[n/2]) / 2, sorted[0], sorted[n-1]}
}
