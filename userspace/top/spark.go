package top

import (
	"fmt"
	"slices"
	"strings"
)

// history is what was measured in the last turns.
type history struct {
	values []float64
	most   int // how many there may be
}

func (h *history) add(v float64) {
	h.values = append(h.values, v)
	if n := len(h.values) - h.most; n > 0 {
		h.values = slices.Delete(h.values, 0, n)
	}
}

var bars = []rune("▁▂▃▄▅▆▇█")

// spark draws the last values, as wide as there is room, the largest one as a full bar.
func (h *history) spark(width int) string {
	values := h.values[max(0, len(h.values)-max(0, width)):]
	if len(values) == 0 {
		return ""
	}
	top := slices.Max(values)
	var b strings.Builder
	for _, v := range values {
		i := 0
		if top > 0 {
			i = int(v / top * float64(len(bars)-1))
		}
		b.WriteRune(bars[i])
	}
	return b.String()
}

// size is a number of bytes for people, three digits of it.
func size(n float64) string {
	const units = "kMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%.0f", n)
	}
	i := -1
	for n >= 999.5 && i < len(units)-1 {
		n /= 1000
		i++
	}
	if n < 9.995 {
		return fmt.Sprintf("%.2f%c", n, units[i])
	}
	if n < 99.95 {
		return fmt.Sprintf("%.1f%c", n, units[i])
	}
	return fmt.Sprintf("%.0f%c", n, units[i])
}
