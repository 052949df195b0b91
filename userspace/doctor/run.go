package doctor

import (
	"context"
	"fmt"
	"time"
)

// Check looks at one thing, or at several of a kind.
type Check struct {
	Area string
	Name string // of the line that says that the check did not end
	// Run returns lines whose area, and name if they have none, are the check's. It
	// should return once ctx is done, and is left alone if it does not.
	Run func(ctx context.Context) []Line
}

// grace is what a check has for its last words when its time is over.
const grace = time.Second

// Run makes all checks at the same time, each for at most limit, and returns their lines
// in the order of the checks.
func Run(ctx context.Context, checks []Check, limit time.Duration) *Report {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	answers := make([]chan []Line, len(checks))
	for i, c := range checks {
		answers[i] = make(chan []Line, 1)
		go func() { answers[i] <- c.Run(bounded) }()
	}
	late, stop := context.WithTimeout(ctx, limit+grace)
	defer stop()
	report := &Report{}
	for i, c := range checks {
		report.add(c.lines(late, answers[i], limit)...)
	}
	return report
}

// lines waits for what a check has found.
func (c *Check) lines(ctx context.Context, answer <-chan []Line, limit time.Duration) []Line {
	var lines []Line
	select {
	case lines = <-answer:
	case <-ctx.Done():
		select {
		case lines = <-answer: // both may be there
		default:
			lines = []Line{Bad(Fail, "", fmt.Sprintf("give it more time (-timeout), or see what is stuck on this host; %v were not enough", limit),
				"no answer in time")}
		}
	}
	for i := range lines {
		lines[i].Area = c.Area
		if lines[i].Name == "" {
			lines[i].Name = c.Name
		}
	}
	return lines
}
