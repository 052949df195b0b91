package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"sluice/scripts/vm"
	"sluice/scripts/vm/job"
)

// where things are in the guest.
const (
	gatewayPath = "/opt/sluice/sluice"
	testsPath   = "/opt/tests"
)

// built is everything that does not depend on the kernel.
type built struct {
	tests   []tests
	payload vm.Payload // all but what depends on the kernel
}

// build compiles what runs in the machines: all static, as nothing else is there.
func build(ctx context.Context, dir string, wanted []tests) (*built, error) {
	b := &built{tests: wanted}
	b.payload = vm.Payload{
		Init:    filepath.Join(dir, "guest"),
		Modules: modules,
		Tools:   tools,
		Files:   map[string]string{gatewayPath: filepath.Join(dir, "sluice")},
	}
	if err := compile(ctx, "build", b.payload.Init, "./scripts/vm/guest"); err != nil {
		return nil, err
	}
	if err := compile(ctx, "build", b.payload.Files[gatewayPath], "./cmd/sluice"); err != nil {
		return nil, err
	}
	for i, t := range wanted {
		file := filepath.Join(dir, fmt.Sprintf("%d.test", i))
		if err := compile(ctx, "test", file, t.Package); err != nil {
			return nil, err
		}
		b.payload.Files[t.binary()] = file
		if err := b.addData(t); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// addData adds the files that tests read: those in testdata.
func (b *built) addData(t tests) error {
	data := filepath.Join(t.Package, "testdata")
	if _, err := os.Stat(data); os.IsNotExist(err) {
		return nil
	} else if err != nil {
		return err
	}
	b.payload.Files[path.Join(t.dir(), "testdata")] = data
	return nil
}

func compile(ctx context.Context, verb, to, pkg string) error {
	args := []string{verb, "-trimpath", "-ldflags", "-s -w", "-o", to}
	if verb == "test" {
		args = append(args, "-c")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(cmd.Args[1:], " "), err, out)
	}
	if _, err := os.Stat(to); os.IsNotExist(err) {
		return fmt.Errorf("package %s has no tests: %w", pkg, fs.ErrNotExist)
	}
	return nil
}

// dir is the working directory of the tests, in which go test would run them.
func (t tests) dir() string { return path.Join(testsPath, t.Package) }

func (t tests) binary() string { return path.Join(t.dir(), "binary.test") }

// program is the tests as a machine runs them.
func (t tests) program(opt options, release string) job.Program {
	argv := []string{t.binary(), vm.Verbose, "-test.timeout=" + opt.timeout.String()}
	if t.Run != "" {
		argv = append(argv, "-test.run="+t.Run)
	}
	if t.Skip != "" {
		argv = append(argv, "-test.skip="+t.Skip)
	}
	return job.Program{
		Name: t.Package,
		Argv: argv,
		Dir:  t.dir(),
		Env: []string{
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"HOME=/root", "TMPDIR=/tmp", "LC_ALL=C",
			"CI=true",
			"SLUICE_KERNEL_TEST=" + release, // what the kernel has, tests must find
			"SLUICE_TEST_BINARY=" + gatewayPath,
		},
	}
}
