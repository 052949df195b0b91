package admin

import (
	"log/slog"
	"path/filepath"
	"testing"

	"sluice/userspace/gateway"
)

// BenchmarkFlows9000 is what a list costs beside making it: writing and reading it.
func BenchmarkFlows9000(b *testing.B) {
	f := &fake{}
	for id := range uint64(9000) {
		f.flows = append(f.flows, someFlow(id))
	}
	path := filepath.Join(b.TempDir(), "a.sock")
	s, err := Listen(Options{Socket: path, Log: slog.New(slog.DiscardHandler)}, f)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close(b.Context())
	c := NewClient(path)
	defer c.Close()
	for b.Loop() {
		if err := c.EachFlow(b.Context(), gateway.Selection{}, Order{}, func(*Flow) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
