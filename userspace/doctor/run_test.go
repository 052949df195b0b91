package doctor

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestOrder: lines come in the order of the checks, whichever ends first.
func TestOrder(t *testing.T) {
	second := make(chan struct{})
	r := Run(t.Context(), []Check{
		{"a", "first", func(context.Context) []Line {
			<-second
			return []Line{Good("", "one"), Bad(Warn, "named", "do", "two %d", 2)}
		}},
		{"b", "second", func(context.Context) []Line { close(second); return []Line{Bad(Fail, "", "mend", "three")} }},
		{"c", "silent", func(context.Context) []Line { return nil }},
	}, time.Minute)
	got, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"lines":[` +
		`{"area":"a","name":"first","level":"ok","found":"one"},` +
		`{"area":"a","name":"named","level":"warn","found":"two 2","remedy":"do"},` +
		`{"area":"b","name":"second","level":"fail","found":"three","remedy":"mend"}],` +
		`"ok":1,"warn":1,"fail":1}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

// TestStuck: a check that does not end costs its own line, and no other.
func TestStuck(t *testing.T) {
	never := make(chan struct{})
	defer close(never)
	r := Run(t.Context(), []Check{
		{"a", "stuck", func(context.Context) []Line { <-never; return nil }},
		{"a", "slow", func(ctx context.Context) []Line { <-ctx.Done(); return []Line{Good("", "in time")} }},
	}, 10*time.Millisecond)
	expect(t, one(t, r.Lines, "stuck"), Fail, "no answer in time", "-timeout")
	expect(t, one(t, r.Lines, "slow"), OK, "in time", "")
}

func TestLevels(t *testing.T) {
	for l, want := range map[Level]string{OK: "ok", Warn: "warn", Fail: "fail", 9: "Level(9)"} {
		if l.String() != want {
			t.Errorf("%d is %q, want %q", uint8(l), l, want)
		}
	}
}
