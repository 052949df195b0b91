package accesslog

import (
	"errors"
	"os"
	"testing"
)

// TestReopenCloses gives the old file's descriptor back at once: a log that is
// rotated each hour must not eat up what flows need.
func TestReopenCloses(t *testing.T) {
	out, err := open(temp(t), "json", quiet)
	if err != nil {
		t.Fatal(err)
	}
	old := out.file
	out.reopen()
	if _, err := old.Stat(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the old file is open: %v", err)
	}
	now := out.file
	if _, err := now.Stat(); err != nil {
		t.Errorf("the new file is not: %v", err)
	}
	if lost := out.close(); lost != 0 {
		t.Errorf("%d lines lost of none", lost)
	}
	if _, err := now.Stat(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the file is open after the end: %v", err)
	}
}
