package metrics

import (
	"net/http"
	"testing"
	"time"
)

// TestLimits finds a bound on everything that a client can draw out: net/http has
// none of its own, and each such client would hold a goroutine and a descriptor
// that flows need.
func TestLimits(t *testing.T) {
	s := serve(t, http.NotFoundHandler())
	for what, limit := range map[string]time.Duration{
		"reading a request": s.http.ReadTimeout,
		"writing an answer": s.http.WriteTimeout,
		"an idle client":    s.http.IdleTimeout,
	} {
		if limit <= 0 || limit > time.Minute {
			t.Errorf("%s may take %v", what, limit)
		}
	}
	if n := s.http.MaxHeaderBytes; n <= 0 || n > 64<<10 {
		t.Errorf("a header may have %d bytes", n)
	}
}
