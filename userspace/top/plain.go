package top

import (
	"context"
	"fmt"
	"io"
	"time"
)

// busiest is how many routes a plain line names.
const busiest = 3

// Plain writes a line each turn, for what is no terminal, until ctx is done. An agent
// that does not answer is told of in its line; only a writer that fails ends it.
func Plain(ctx context.Context, w io.Writer, s Source, every time.Duration) error {
	for {
		t := ask(ctx, s)
		if ctx.Err() != nil {
			return nil
		}
		if _, err := fmt.Fprintln(w, line(t)); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
	}
}

func line(t turn) string {
	at := t.at.Format(time.RFC3339)
	if t.err != nil {
		return fmt.Sprintf("%s error=%q", at, t.err)
	}
	s := t.status
	text := fmt.Sprintf("%s state=%q flows=%d begun_per_s=%.1f sent_per_s=%s received_per_s=%s",
		at, s.State, s.Flows, s.Rates.Flows, size(s.Rates.Sent), size(s.Rates.Received))
	rows := sumUp(t.flows)
	sortRoutes(rows, byRate)
	for _, r := range rows[:min(busiest, len(rows))] {
		text += fmt.Sprintf(" %q=%s/s", r.name, size(r.sent+r.received))
	}
	return text
}
