package local

import (
	"errors"
	"testing"

	"sluice/userspace/local"
)

// TestSelfTest: it comes out well, but for what some kernels tell processes wrong.
func TestSelfTest(t *testing.T) {
	k := load(t)
	e := local.New(k)
	switch err := e.SelfTest(); {
	case errors.Is(err, local.ErrMisleads):
		t.Log(err)
	case err != nil:
		t.Error(err)
	}
	if e.Idle() != flows {
		t.Errorf("%d of %d pairs of ways are free", e.Idle(), flows)
	}
}
