package vm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// plant makes files with what they have.
func plant(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// moduleELF is the least that is a kernel module: a file of two sections.
func moduleELF(depends string) string {
	info := "license=GPL\x00depends=" + depends + "\x00name=x\x00"
	names := "\x00.modinfo\x00.names\x00"
	var b bytes.Buffer
	b.WriteString("\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9))
	le := func(values ...any) {
		for _, v := range values {
			_ = binary.Write(&b, binary.LittleEndian, v) // to memory
		}
	}
	at := uint64(64 + len(info) + len(names)) // of the section headers
	le(uint16(1), uint16(62), uint32(1), uint64(0), uint64(0), at, uint32(0),
		uint16(64), uint16(0), uint16(0), uint16(64), uint16(3), uint16(2))
	b.WriteString(info + names)
	section := func(name, kind uint32, offset, size int) {
		le(name, kind, uint64(0), uint64(0), uint64(offset), uint64(size), uint32(0), uint32(0), uint64(1), uint64(0))
	}
	section(0, 0, 0, 0)
	section(1, 1, 64, len(info))
	section(10, 3, 64+len(info), len(names))
	return b.String()
}

func testKernel(t *testing.T) *Kernel {
	t.Helper()
	dir := t.TempDir()
	plant(t, dir, map[string]string{
		"modules.builtin":        "kernel/net/core/built-in.ko\n",
		"kernel/net/outer.ko":    moduleELF("middle-one,built_in"),
		"kernel/middle-one.ko":   moduleELF("inner"),
		"kernel/lib/inner.ko":    moduleELF(""),
		"kernel/lib/unneeded.ko": moduleELF("inner"),
		"kernel/lost.ko":         moduleELF("missing"),
		"kernel/broken.ko":       "not a module",
	})
	return &Kernel{Release: "6.1", Version: "6.1.0-1-cloud-amd64", modules: dir}
}

func TestModulesComeAfterWhatTheyNeed(t *testing.T) {
	k := testKernel(t)
	loaded, err := k.load([]string{"outer", "inner", "built_in", "absent?"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range loaded {
		names = append(names, m.name)
	}
	if diff := cmp.Diff([]string{"inner", "middle_one", "outer"}, names); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]string{
		"absent": "no module absent", "lost": "no module missing", "broken": "broken.ko",
	} {
		if _, err := k.load([]string{name}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want one with %q", name, err, want)
		}
	}
}

func TestFindKernel(t *testing.T) {
	r := Release{Name: "6.1"}
	for _, tc := range []struct {
		name  string
		files []string
		want  string // in the error; "": none
	}{
		{"of Debian 12", []string{"boot/vmlinuz-6.1.0-9-cloud-amd64", "lib/modules/6.1.0-9-cloud-amd64/modules.builtin"}, ""},
		{"of Debian 13", []string{"boot/vmlinuz-6.1.0-9-cloud-amd64", "usr/lib/modules/6.1.0-9-cloud-amd64/modules.builtin"}, ""},
		{"none", []string{"boot/config"}, "want one kernel"},
		{"two", []string{"boot/vmlinuz-6.1.0-1", "boot/vmlinuz-6.1.0-2"}, "want one kernel"},
		{"another", []string{"boot/vmlinuz-6.12.3"}, "want a kernel 6.1, have 6.12.3"},
		{"no modules", []string{"boot/vmlinuz-6.1.0-9"}, "find the modules of 6.1.0-9"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range tc.files {
				plant(t, dir, map[string]string{name: ""})
			}
			k, err := find(dir, r)
			if tc.want != "" {
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("got %v, want one with %q", err, tc.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if k.Version != "6.1.0-9-cloud-amd64" {
				t.Errorf("version %s", k.Version)
			}
		})
	}
}

func TestCachedKernel(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := cached(dir, Release{Name: "6.1"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none yet: got %v", err)
	}
	plant(t, dir, map[string]string{
		"6.1/current/boot/vmlinuz-6.1.0-9":                "",
		"6.1/current/lib/modules/6.1.0-9/modules.builtin": "",
	})
	// It is new enough, so nothing is fetched: the release has no suites.
	k, err := Fetch(t.Context(), dir, Release{Name: "6.1"}, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if k.Version != "6.1.0-9" {
		t.Errorf("version %s", k.Version)
	}
	// It is old, there is no other, and it has to serve.
	old := time.Now().Add(-2 * fresh)
	if err := os.Chtimes(filepath.Join(dir, "6.1", current), old, old); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	if k, err = Fetch(t.Context(), dir, Release{Name: "6.1"}, &said); err != nil || k.Version != "6.1.0-9" {
		t.Errorf("got %v, %v", k, err)
	}
	if !strings.Contains(said.String(), "staying with 6.1.0-9") {
		t.Errorf("said %q", said.String())
	}
}
