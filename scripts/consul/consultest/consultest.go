// Package consultest gives tests a real Consul: started when asked for, stopped
// when the test ends, its log shown when the test failed, and skipped where there
// is none and none may be built.
package consultest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"testing"

	"sluice/scripts/consul"
)

// Need returns the path of the consul program. If there is none it is built, which
// takes minutes, unless SLUICE_CONSUL=skip is in the environment: then the test is
// skipped, or fails with CI=true, so that no test goes missing unseen.
func Need(t testing.TB) string {
	t.Helper()
	path, err := consul.Find()
	if err == nil {
		return path
	}
	if errors.Is(err, fs.ErrNotExist) && os.Getenv("SLUICE_CONSUL") == "skip" {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs consul, SLUICE_CONSUL=skip forbids to build it, and CI=true allows no skipping")
		}
		t.Skip("needs consul, and SLUICE_CONSUL=skip forbids to build it")
	}
	if path, err = consul.Binary(t.Context(), os.Stderr); err != nil {
		t.Fatal(err)
	}
	return path
}

// Start starts a cluster, such as one of consul.TwoDatacenters, for the test.
func Start(t testing.TB, shape func(context.Context, consul.Settings) (*consul.Cluster, error), s consul.Settings) *consul.Cluster {
	t.Helper()
	Need(t)
	c, err := shape(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, a := range c.Agents {
				t.Logf("the end of the log of consul agent %s:\n%s", a.Node, a.LogTail())
			}
		}
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}
