package relay

import "testing"

// TestManyStalledTakeLess lends pipes until there are no more.
func TestManyStalledTakeLess(t *testing.T) {
	ps := pipes{max: 8, size: 1 << 20}
	if err := ps.grow(); err != nil {
		t.Fatal(err)
	}
	defer ps.close()
	var lent []pipe
	for i, want := range []int{1 << 20, 1 << 20, 1 << 20, 1 << 20, 256 << 10, 256 << 10, 256 << 10, 64 << 10} {
		if got := ps.most(); got != want {
			t.Errorf("with %d pipes on loan a move takes %d bytes, want %d", i, got, want)
		}
		lent = append(lent, ps.get())
		if spare, want := ps.spare(), i < 7; spare != want {
			t.Errorf("with %d of 8 pipes on loan, there is another: %v, want %v", i+1, spare, want)
		}
	}
	for _, p := range lent {
		ps.put(p)
	}
	if got := ps.most(); got != 1<<20 {
		t.Errorf("with all pipes back a move takes %d bytes", got)
	}
}
