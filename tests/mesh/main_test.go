package mesh

import (
	"flag"
	"os"
	"testing"

	"sluice/tests/harness"
)

// TestMain runs two tests at a time: the mesh of each has agents, gateways and load of
// its own.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "2"); err != nil {
		panic(err)
	}
	status := m.Run()
	harness.CleanUp()
	os.Exit(status)
}
