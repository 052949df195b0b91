package consul

import "testing"

func TestBlocks(t *testing.T) {
	a, err := claimBlock()
	if err != nil {
		t.Fatal(err)
	}
	b, err := claimBlock()
	if err != nil {
		t.Fatal(err)
	}
	if a.n == b.n {
		t.Errorf("two clusters have block 127.%d", a.n)
	}
	if got := a.addr(2, 10).As4(); got != [4]byte{127, a.n, 2, 10} {
		t.Errorf("address %v", got)
	}
	for range 2 {
		if err := a.release(); err != nil {
			t.Error(err)
		}
	}
	if err := b.release(); err != nil {
		t.Error(err)
	}
}
