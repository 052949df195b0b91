package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// keyring is where debian-archive-keyring puts the keys that sign Debian's archive.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// mirror is where an archive of Debian is: its packages, or the security updates.
type mirror struct{ label, uri string }

// apt calls apt with a state of its own, beside the machine's: other suites, their
// lists and nothing else. Proxies and the like are the machine's.
type apt struct{ dir string }

// newApt is an apt for suites of Debian, such as "bookworm". It takes them from the
// mirrors that the machine is set up with. A suite "x-security" is one of Debian's
// security archive, and is left out if the machine does not use that.
func newApt(ctx context.Context, dir string, suites []string) (*apt, error) {
	mirrors, err := machineMirrors(ctx)
	if err != nil {
		return nil, err
	}
	var list strings.Builder
	for _, suite := range suites {
		label := "Debian"
		if strings.HasSuffix(suite, "-security") {
			label = "Debian-Security"
		}
		for _, m := range mirrors {
			if m.label == label {
				fmt.Fprintf(&list, "deb [arch=amd64 signed-by=%s] %s %s main\n", keyring, m.uri, suite)
				break
			}
		}
	}
	if list.Len() == 0 {
		return nil, errors.New("apt knows no mirror of Debian: want a Debian machine on which apt-get update has run")
	}
	for _, sub := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	return &apt{dir}, os.WriteFile(filepath.Join(dir, "sources.list"), []byte(list.String()), 0o644)
}

// machineMirrors are the mirrors in the machine's own configuration.
func machineMirrors(ctx context.Context) ([]mirror, error) {
	out, err := output(exec.CommandContext(ctx, "apt-get", "indextargets",
		"--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages", "Origin: Debian"))
	if err != nil {
		return nil, err
	}
	var mirrors []mirror
	for line := range strings.Lines(out) {
		if label, uri, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			mirrors = append(mirrors, mirror{label, uri})
		}
	}
	return mirrors, nil
}

// run calls one of apt's programs and returns what it printed.
func (a *apt) run(ctx context.Context, program string, args ...string) (string, error) {
	set := []string{
		"Dir::Etc::SourceList=" + filepath.Join(a.dir, "sources.list"),
		"Dir::Etc::SourceParts=/dev/null",
		"Dir::Etc::Preferences=/dev/null",
		"Dir::Etc::PreferencesParts=/dev/null",
		"Dir::State::Lists=" + filepath.Join(a.dir, "lists"),
		"Dir::Cache=" + filepath.Join(a.dir, "cache"),
		"APT::Sandbox::User=", // the directory may be the user's own, closed to others
		"APT::Update::Error-Mode=any",
		"Acquire::Retries=3",
	}
	for i := len(set) - 1; i >= 0; i-- {
		args = append([]string{"-o", set[i]}, args...)
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = a.dir
	return output(cmd)
}

// update reads the lists of the suites.
func (a *apt) update(ctx context.Context) error {
	_, err := a.run(ctx, "apt-get", "-q", "update")
	return err
}

// dependency is the first package that a package depends on.
func (a *apt) dependency(ctx context.Context, pkg string) (string, error) {
	out, err := a.run(ctx, "apt-cache", "depends", "--important", pkg)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: "); ok {
			return name, nil
		}
	}
	return "", fmt.Errorf("package %s depends on nothing: %q", pkg, out)
}

// download gets a package's file and returns its path.
func (a *apt) download(ctx context.Context, pkg string) (string, error) {
	if _, err := a.run(ctx, "apt-get", "-q", "download", pkg); err != nil {
		return "", err
	}
	found, err := filepath.Glob(filepath.Join(a.dir, pkg+"_*.deb"))
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("want one file of package %s, have %q", pkg, found)
	}
	if err != nil {
		return "", err
	}
	return found[0], nil
}

// output runs a command and returns what it printed; its error has what it
// complained of.
func output(cmd *exec.Cmd) (string, error) {
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
		}
		return "", fmt.Errorf("%s: %w", filepath.Base(cmd.Path), err)
	}
	return string(out), nil
}
