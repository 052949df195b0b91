package consultest

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"sluice/scripts/consul"
)

// fake is a test that only remembers what becomes of it.
type fake struct {
	testing.TB // the real one, for what is not overridden
	said       []string
}

func (f *fake) Helper()        {}
func (f *fake) Fatal(a ...any) { f.stop("fatal", a) }
func (f *fake) Skip(a ...any)  { f.stop("skip", a) }
func (f *fake) stop(how string, a []any) {
	f.said = append(f.said, how+": "+fmt.Sprint(a...))
	panic(f)
}

// run returns how a test that does so ends.
func run(t *testing.T, do func(testing.TB)) string {
	f := &fake{TB: t}
	func() {
		defer func() {
			if r := recover(); r != nil && r != any(f) {
				panic(r)
			}
		}()
		do(f)
	}()
	return strings.Join(f.said, "\n")
}

func TestNeed(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", dir)
	for _, c := range []struct{ bin, skip, ci, want string }{
		{"/bin/true", "skip", "", ""},
		{"", "skip", "", "skip: "},
		{"", "skip", "true", "fatal: "},
		{filepath.Join(dir, "nothing"), "", "", "fatal: CONSUL_BIN"},
	} {
		t.Setenv("CONSUL_BIN", c.bin)
		t.Setenv("SLUICE_CONSUL", c.skip)
		t.Setenv("CI", c.ci)
		t.Setenv("PATH", dir)
		got := run(t, func(t testing.TB) { Need(t) })
		if !strings.HasPrefix(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

func TestStartFails(t *testing.T) {
	t.Setenv("CONSUL_BIN", "/bin/true")
	got := run(t, func(t testing.TB) {
		Start(t, func(context.Context, consul.Settings) (*consul.Cluster, error) {
			return nil, errors.New("no luck")
		}, consul.Settings{})
	})
	if got != "fatal: no luck" {
		t.Errorf("%q", got)
	}
}
