package sockmap

import (
	"testing"
	"time"

	"sluice/userspace/sockmap"
)

func TestSelfTest(t *testing.T) {
	data := load(t, commonFlows)
	before := descriptors(t)
	e, err := sockmap.New(data, sockmap.Config{})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := e.SelfTest(0); err != nil {
		t.Error(err)
	}
	t.Logf("it took %v", time.Since(start))
	if e.Idle() != commonFlows {
		t.Errorf("%d of %d pairs are free", e.Idle(), commonFlows)
	}
	eventually(t, "all descriptors to be closed", func() bool { return descriptors(t) <= before })
}
