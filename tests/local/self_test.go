package local

import (
	"errors"
	"testing"

	"sluice/userspace/local"
)

func TestSelfTest(t *testing.T) {
	k := load(t)
	e := local.New(k)
	if err := e.SelfTest(); err != nil && !errors.Is(err, local.ErrMisleads) {
		t.Error(err)
	}
	m, err := k.Messages()
	t.Log(m, err, e.Fallen())
}
