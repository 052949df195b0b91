package harness

import (
	"os"
	"path/filepath"
)

// init has Binary return the sluice that SLUICE_TEST_BINARY names, if it is set: the
// tests may run where there is no Go to build one with, see scripts/vm. The link to
// it is what CleanUp removes.
func init() {
	prebuilt := os.Getenv("SLUICE_TEST_BINARY")
	if prebuilt == "" {
		return
	}
	build.once.Do(func() {
		var dir string
		if dir, build.err = os.MkdirTemp("", "sluice-test-bin-"); build.err == nil {
			build.path = filepath.Join(dir, "sluice")
			build.err = os.Symlink(prebuilt, build.path)
		}
	})
}
