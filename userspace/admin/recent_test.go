package admin

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestRecent(t *testing.T) {
	var r Recent
	var out bytes.Buffer
	log := slog.New(r.Beside(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelError})))
	if list := r.List(); list == nil || len(list) != 0 {
		t.Errorf("of nothing it remembers %v", list)
	}
	before := time.Now()
	log.Info("all is well")
	log.Warn("a warning", "time", "of the caller's")
	log.With("path", "sockmap").WithGroup("g").Error("an error", "error", errors.New("it broke"))
	list := r.List()
	if len(list) != 2 {
		t.Fatalf("remembers %v", list)
	}
	for i, want := range []string{
		`level=WARN msg="a warning"`,
		`level=ERROR msg="an error" path=sockmap g.error="it broke"`,
	} {
		if !strings.HasPrefix(list[i].Text, want) || strings.Contains(list[i].Text, "\n") || list[i].Time.Before(before) {
			t.Errorf("%d: %q at %v, want %q", i, list[i].Text, list[i].Time, want)
		}
	}
	if text := out.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "an error") {
		t.Errorf("the log itself has %q", text)
	}
}

// TestRecentIsBounded in lines and in their length, whoever writes.
func TestRecentIsBounded(t *testing.T) {
	var r Recent
	log := slog.New(r.Beside(slog.DiscardHandler))
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for range kept {
				log.Warn(strings.Repeat("ä", 4*longest))
			}
		})
	}
	running.Wait()
	log.Warn("the last one")
	list := r.List()
	if len(list) != kept || list[kept-1].Text != `level=WARN msg="the last one"` {
		t.Errorf("%d lines, the last %q", len(list), list[len(list)-1].Text)
	}
	for i, p := range list {
		if len(p.Text) > longest {
			t.Errorf("a line of %d bytes", len(p.Text))
		}
		if i > 0 && p.Time.Before(list[i-1].Time) {
			t.Error("lines out of order")
		}
	}
}
