package admission

import (
	"net/netip"
	"testing"

	"sluice/userspace/flow"
)

func gate(t testing.TB, l Limits) *Gate {
	t.Helper()
	g, err := New(l)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func enter(t *testing.T, g *Gate, src netip.Addr, want flow.End) {
	t.Helper()
	if got := g.Enter(src); got != want {
		t.Fatalf("Enter(%s) = %v, want %v", src, got, want)
	}
}

func expectFlows(t *testing.T, g *Gate, want int) {
	t.Helper()
	if got := g.Flows(); got != want {
		t.Fatalf("%d flows, want %d", got, want)
	}
}

// expectNoSources finds out whether the gate remembers sources without flows.
func expectNoSources(t *testing.T, g *Gate) {
	t.Helper()
	for i := range g.sources.pieces {
		if left := g.sources.pieces[i].flows; len(left) > 0 {
			t.Fatalf("sources remembered: %v", left)
		}
	}
}
