package vm

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"

	"sluice/scripts/vm/job"
)

// Payload is what a machine is to run, and what it needs for that.
type Payload struct {
	Init     string            // path of the program made from scripts/vm/guest
	Modules  []string          // of the kernel, by name, see load; what they depend on comes too
	Tools    []string          // programs of this machine, by name, with their libraries
	Files    map[string]string // path in the guest to the file or directory here
	Programs []job.Program
}

// Tree is the root of a whole system, with an init of its own that speaks as the
// guest does: see package job.
type Tree struct {
	Dir   string
	Init  string                 // path in it of the init
	Skip  func(name string) bool // what is left out, by its path in it; nil: nothing
	Extra map[string]string      // more files: path in it to what they have
}

// write writes the tree with an archive.
func (t Tree) write(a *archive, _ *Kernel) error {
	for name, text := range t.Extra { // first, so that they are the ones that count
		a.add(name, 0o755, []byte(text))
	}
	a.link("/init", t.Init)
	return a.copyTree("/", t.Dir, t.Skip)
}

// root is what a machine boots into.
type root interface {
	write(a *archive, k *Kernel) error
}

func writeRoot(to string, k *Kernel, r root) error {
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer f.Close()
	a := newArchive(f)
	if err := r.write(a, k); err != nil {
		return err
	}
	if err := a.close(); err != nil {
		return fmt.Errorf("write %s: %w", to, err)
	}
	return f.Close()
}

// write writes the root of a machine with an archive.
func (p Payload) write(a *archive, k *Kernel) error {
	modules, err := k.load(p.Modules)
	if err != nil {
		return err
	}
	j := job.Job{Programs: p.Programs}
	for _, m := range modules {
		name := path.Join("/modules", m.name+".ko")
		a.add(name, 0o644, m.elf)
		j.Modules = append(j.Modules, name)
	}
	if err := a.copy("/init", p.Init); err != nil {
		return err
	}
	for _, tool := range p.Tools {
		if err := copyTool(a, tool); err != nil {
			return err
		}
	}
	for name, from := range p.Files {
		if err := copyAny(a, name, from); err != nil {
			return err
		}
	}
	// What programs of the system expect to be there.
	a.add("/etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\n"))
	a.add("/etc/hosts", 0o644, []byte("127.0.0.1 localhost\n::1 localhost\n"))
	a.dir("/root")
	b, err := json.Marshal(j)
	if err != nil {
		return err
	}
	a.add(job.File, 0o644, b)
	return nil
}

func copyAny(a *archive, name, from string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return a.copyTree(name, from, nil)
	}
	return a.copy(name, from)
}

// library matches a path in the lines that ldd prints: "name => path (address)", and
// "path (address)" for the loader itself.
var library = regexp.MustCompile(`(?m)(?:^\s*|=> )(/\S+) \(0x`)

// copyTool puts a program of this machine where it is here, with the libraries that
// it is linked to.
func copyTool(a *archive, name string) error {
	found, err := lookTool(name)
	if err != nil {
		return err
	}
	out, err := output(exec.Command("ldd", found))
	if err != nil {
		return fmt.Errorf("find the libraries of %s: %w", found, err)
	}
	for _, match := range library.FindAllStringSubmatch(out, -1) {
		if err := a.copy(match[1], match[1]); err != nil {
			return err
		}
	}
	return a.copy(found, found)
}

// lookTool finds a program, also where those of the administrator are.
func lookTool(name string) (string, error) {
	found, err := exec.LookPath(name)
	if err != nil {
		for _, dir := range []string{"/usr/sbin", "/sbin"} {
			if found, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return found, nil
			}
		}
	}
	return found, err
}
