package report

import (
	"fmt"

	"sluice/tests/bench/figure"
)

// number writes a figure to three digits or more.
func number(f float64) string {
	switch {
	case f >= 100:
		return thousands(fmt.Sprintf("%.0f", f))
	case f >= 10:
		return fmt.Sprintf("%.1f", f)
	default:
		return fmt.Sprintf("%.2f", f)
	}
}

// thousands puts commas into digits.
func thousands(digits string) string {
	if len(digits) <= 3 {
		return digits
	}
	at := len(digits) - 3
	return thousands(digits[:at]) + "," + digits[at:]
}

// ratio writes the median, and the least and the most.
func ratio(s figure.Spread) string {
	if s.Median == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f (%.2f-%.2f)", s.Median, s.Min, s.Max)
}

func orNone(name string) string {
	if name == "" {
		return "best peer"
	}
	return name
}

// costUnit is that of Sample.Cost.
func costUnit(w figure.Workload) string {
	switch w.Kind {
	case figure.Bulk, figure.Both, figure.Iperf:
		return "s/GiB"
	default:
		return "s/100k"
	}
}
