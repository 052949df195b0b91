package route

import (
	"sync"
	"sync/atomic"
	"time"
)

// Store holds the current table. Its zero value is ready and has none.
type Store struct {
	current atomic.Pointer[Table]

	mu      sync.Mutex // keeps swaps and their times in one order
	swapped time.Time
}

// Load returns the current table, nil before the first. A flow that begins with
// it goes on with it, so that all it sees is of one table.
func (s *Store) Load() *Table { return s.current.Load() }

// Swap makes t the current table, and tells what changed.
func (s *Store) Swap(t *Table) Delta {
	s.mu.Lock()
	old := s.current.Swap(t)
	s.swapped = time.Now()
	s.mu.Unlock()
	return Diff(old, t)
}

// Age is the time since the last swap, 0 before the first.
func (s *Store) Age() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.swapped.IsZero() {
		return 0
	}
	return time.Since(s.swapped)
}
