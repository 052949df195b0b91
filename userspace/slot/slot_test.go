package slot

import (
	"testing"
	"unsafe"
)

// TestHalves keeps what the kernel writes and what userspace writes on cache lines
// of their own.
func TestHalves(t *testing.T) {
	var w Way
	if size, half := unsafe.Sizeof(w), unsafe.Offsetof(w.Drained); size != 128 || half != 64 {
		t.Errorf("a way takes %d bytes, and userspace's half begins at %d", size, half)
	}
}

func TestClear(t *testing.T) {
	var w Way
	b := unsafe.Slice((*byte)(unsafe.Pointer(&w)), unsafe.Sizeof(w))
	for i := range b {
		b[i] = 0xff
	}
	w.Clear()
	// What is spare stays as it is.
	for i, c := range b {
		if used := i < 36 || i >= 64 && i < 96; used && c != 0 {
			t.Errorf("byte %d is %#x", i, c)
		}
	}
}

func TestReasonNames(t *testing.T) {
	seen := map[string]bool{}
	for r := range Reasons {
		if name := r.String(); name == "" || name == "invalid" || seen[name] {
			t.Errorf("reason %d has no name of its own: %q", r, name)
		}
		seen[r.String()] = true
	}
	if Reasons.String() != "invalid" {
		t.Errorf("%d is %q", Reasons, Reasons)
	}
}
