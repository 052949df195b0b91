package snapshot

import (
	"os"
	"path/filepath"
	"testing"
)

// The table of the benchmarks has so many routes, each with a cluster of its own
// that has two endpoints.
const size = 100_000

func BenchmarkWrite(b *testing.B) {
	table, path := many(b, size), filepath.Join(b.TempDir(), "table")
	b.ReportAllocs()
	for b.Loop() {
		if err := Write(path, table, fullMeta()); err != nil {
			b.Fatal(err)
		}
	}
	if info, err := os.Stat(path); err == nil {
		b.SetBytes(info.Size())
	}
}

func BenchmarkRead(b *testing.B) {
	table, path := many(b, size), filepath.Join(b.TempDir(), "table")
	if err := Write(path, table, fullMeta()); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Read(path); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkKeep is what a source waits for while the disk is busy.
func BenchmarkKeep(b *testing.B) {
	table := many(b, size)
	k, _ := newKeeper(b, 0) // always writing
	done := make(chan error)
	ctx := b.Context()
	go func() { done <- k.Run(ctx) }()
	b.Cleanup(func() { <-done })
	b.ReportAllocs()
	for b.Loop() {
		k.Keep(table)
	}
}
