package doctor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestPaths(t *testing.T) {
	splice := Run(t.Context(), []Check{SpliceCheck()}, time.Minute)
	expect(t, one(t, splice.Lines, "splice"), OK, "256 KiB each way", "")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := relayBytes(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("the self-test with no time: %v", err)
	}

	crashing := Kernel{"6.1.1", Fail, "lacks"}
	for _, c := range []struct {
		name          string
		kernel        Kernel
		path          string
		unsafe        bool
		err           error
		level         Level
		found, remedy string
	}{
		{"works", Kernel{}, "", false, nil, OK, "exact", ""},
		{"does not", Kernel{}, "auto", false, errors.Join(errors.New("bytes"), errors.New("lost")), Warn, "bytes; lost", "-path splice"},
		{"does not, and must", Kernel{}, "sockmap", false, errors.New("lost"), Fail, "lost", "-path splice"},
		{"not wanted", Kernel{}, "splice", false, errors.New("tried"), OK, "not tried", ""},
		{"dangerous", crashing, "", false, nil, Warn, "known to crash", "release"},
		{"dangerous, and must", crashing, "sockmap", false, nil, Fail, "known to crash", "release"},
		{"dangerous, they say", crashing, "", true, nil, OK, "exact", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			tried := false
			h, p := &Host{Kernel: c.kernel}, planOf(func(p *Plan) { p.Path, p.UnsafeKernel = c.path, c.unsafe })
			check := SockmapCheck(h, p, func(context.Context) error { tried = true; return c.err })
			r := Run(t.Context(), []Check{check}, time.Minute)
			expect(t, one(t, r.Lines, "sockmap"), c.level, c.found, c.remedy)
			if skip := c.path == "splice" || c.kernel.Level == Fail && !c.unsafe; tried == skip {
				t.Errorf("tried: %t", tried)
			}
		})
	}
}

func TestLocal(t *testing.T) {
	crashing := Kernel{"6.1.1", Fail, "lacks"}
	for _, c := range []struct {
		name          string
		kernel        Kernel
		plan          Plan
		err           error
		level         Level
		found, remedy string
	}{
		{"works", Kernel{}, Plan{Local: true}, nil, OK, "exact", ""},
		{"does not", Kernel{}, Plan{Local: true}, errors.New("misled"), Warn, "misled", "README.md"},
		{"not asked for", crashing, Plan{}, errors.New("tried"), OK, "not tried", ""},
		{"not wanted", Kernel{}, Plan{Local: true, Path: "splice"}, errors.New("tried"), OK, "not tried", ""},
		{"dangerous", crashing, Plan{Local: true}, errors.New("tried"), Warn, "known to crash", "release"},
		{"dangerous, they say", crashing, Plan{Local: true, UnsafeKernel: true}, nil, OK, "exact", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			check := LocalCheck(&Host{Kernel: c.kernel}, &c.plan, func(context.Context) error { return c.err })
			r := Run(t.Context(), []Check{check}, time.Minute)
			expect(t, one(t, r.Lines, "local"), c.level, c.found, c.remedy)
		})
	}
}

func TestRoutes(t *testing.T) {
	for _, c := range []struct {
		name, text    string
		level         Level
		found, remedy string
	}{
		{"good", "route \"a.test\" { cluster = \"a\" }\ncluster \"a\" {\n endpoint \"127.0.0.1:1\" {}\n}\n", OK, "1 route, 1 cluster", ""},
		{"empty", "", Fail, "the file is empty", "sluice validate"},
		{"without routes", "cluster \"a\" {\n endpoint \"127.0.0.1:1\" {}\n}\n", Warn, "no route", "sluice validate"},
		{"bad", "route \"a.test\" { cluster = \"a\" }\nroute \"a.test\" { cluster = \"b\" }\n", Fail, "routes.hcl:1:", "mend the file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "routes.hcl")
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			r := Run(t.Context(), []Check{RoutesCheck(file, "splice")}, time.Minute)
			expect(t, one(t, r.Lines, file), c.level, c.found, c.remedy)
		})
	}
	r := Run(t.Context(), []Check{RoutesCheck("/none", "splice")}, time.Minute)
	expect(t, one(t, r.Lines, "/none"), Fail, "no such file", "mend")
}
