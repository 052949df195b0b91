package admin

import (
	"log/slog"
	"strings"
	"sync"
	"time"
)

// kept is how many problems are remembered, and longest the bytes of each.
const (
	kept    = 32
	longest = 1024
)

// Recent remembers the last warnings and errors of a log. Its zero value is ready.
type Recent struct {
	mu   sync.Mutex
	ring [kept]Problem
	next int // all of them before it, if it is more than kept
}

// Beside returns a handler that gives each record to h, and remembers those that are
// warnings or worse.
func (r *Recent) Beside(h slog.Handler) slog.Handler {
	return slog.NewMultiHandler(h, slog.NewTextHandler(r, &slog.HandlerOptions{
		Level: slog.LevelWarn,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
}

// Write remembers a line.
func (r *Recent) Write(line []byte) (int, error) {
	text := strings.TrimSuffix(string(line[:min(len(line), longest)]), "\n")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring[r.next%kept] = Problem{Time: time.Now(), Text: strings.ToValidUTF8(text, "")}
	r.next++
	return len(line), nil
}

// List returns what is remembered, the oldest first.
func (r *Recent) List() []Problem {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]Problem, 0, min(r.next, kept))
	for i := max(0, r.next-kept); i < r.next; i++ {
		list = append(list, r.ring[i%kept])
	}
	return list
}
