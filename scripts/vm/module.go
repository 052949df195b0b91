package vm

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// module is a kernel module, ready to be loaded.
type module struct {
	name string
	elf  []byte
}

// load reads modules and all that they depend on, in the order in which the kernel
// must get them. One that the kernel has built in is left out, and one with a ? after
// its name if there is no such module.
func (k *Kernel) load(names []string) ([]module, error) {
	files, err := k.moduleFiles()
	if err != nil {
		return nil, err
	}
	builtin, err := k.builtin()
	if err != nil {
		return nil, err
	}
	l := loader{files: files, builtin: builtin, seen: map[string]bool{}}
	for _, name := range names {
		name, optional := strings.CutSuffix(name, "?")
		if optional && files[name] == "" {
			continue
		}
		if err := l.add(name); err != nil {
			return nil, fmt.Errorf("kernel %s: %w", k.Version, err)
		}
	}
	return l.loaded, nil
}

type loader struct {
	files   map[string]string
	builtin map[string]bool
	seen    map[string]bool
	loaded  []module
}

func (l *loader) add(name string) error {
	if l.seen[name] || l.builtin[name] {
		return nil
	}
	l.seen[name] = true
	path, ok := l.files[name]
	if !ok {
		return fmt.Errorf("it has no module %s", name)
	}
	b, err := readModule(path)
	if err != nil {
		return err
	}
	needs, err := dependencies(b)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	for _, need := range needs {
		if err := l.add(need); err != nil {
			return err
		}
	}
	l.loaded = append(l.loaded, module{name, b})
	return nil
}

// moduleFiles are the paths of all modules by name.
func (k *Kernel) moduleFiles() (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(k.modules, func(path string, d fs.DirEntry, err error) error {
		if name, ok := moduleName(path); ok && err == nil {
			files[name] = path
		}
		return err
	})
	return files, err
}

// builtin are the modules that are part of the kernel's image. A package has the
// list of them beside its modules.
func (k *Kernel) builtin() (map[string]bool, error) {
	b, err := os.ReadFile(filepath.Join(k.modules, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	builtin := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		if name, ok := moduleName(strings.TrimSpace(line)); ok {
			builtin[name] = true
		}
	}
	return builtin, nil
}

// moduleName is the name of the module in a file. Names have _ where files may
// have -.
func moduleName(path string) (string, bool) {
	name, ok := strings.CutSuffix(strings.TrimSuffix(filepath.Base(path), ".xz"), ".ko")
	return strings.ReplaceAll(name, "-", "_"), ok
}

func readModule(path string) ([]byte, error) {
	if !strings.HasSuffix(path, ".xz") {
		return os.ReadFile(path)
	}
	b, err := output(exec.Command("xz", "-dc", path))
	return []byte(b), err
}

// dependencies are the modules that a module says it depends on, in its .modinfo
// section: NAME=value, each ended by a 0.
func dependencies(ko []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(ko))
	if err != nil {
		return nil, err
	}
	info := f.Section(".modinfo")
	if info == nil {
		return nil, errors.New("it has no section .modinfo: not a kernel module")
	}
	b, err := info.Data()
	if err != nil {
		return nil, err
	}
	for field := range strings.SplitSeq(string(b), "\x00") {
		if list, ok := strings.CutPrefix(field, "depends="); ok && list != "" {
			return strings.Split(strings.ReplaceAll(list, "-", "_"), ","), nil
		}
	}
	return nil, nil
}
