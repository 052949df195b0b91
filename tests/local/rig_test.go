package local

import (
	"os"
	"testing"

	"sluice/loader"
)

func load(t *testing.T) *loader.Local {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: it loads BPF programs")
	}
	k, err := loader.LoadLocal(64)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}
