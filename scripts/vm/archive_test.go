package vm

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// unpack reads an archive as the kernel does: a line for each thing in it.
func unpack(t *testing.T, b []byte) []string {
	t.Helper()
	var lines []string
	for {
		if len(b) < 110 || string(b[:6]) != "070701" {
			t.Fatalf("no header: %q", b[:min(len(b), 110)])
		}
		field := func(i int) int {
			n, err := strconv.ParseUint(string(b[6+8*i:14+8*i]), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
		mode, size, long := field(1), field(6), field(11)
		name := string(b[110 : 110+long-1])
		start := (110 + long + 3) / 4 * 4
		if name == "TRAILER!!!" {
			return lines
		}
		lines = append(lines, fmt.Sprintf("%06o %s %s", mode, name, b[start:start+size]))
		b = b[(start+size+3)/4*4:]
	}
}

func TestArchive(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	for name, text := range map[string]string{"file": "four", "sub/inner": "12345", "sub/skipped": "x"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(file, fs.ModeSetuid|0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("file", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	a := newArchive(&out)
	a.add("/etc/a", 0o600, []byte("abc"))
	a.add("etc/a", 0o644, []byte("the first one counts"))
	if err := a.copy("/bin/x", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := a.copyTree("/tree", dir, func(name string) bool { return strings.HasSuffix(name, "skipped") }); err != nil {
		t.Fatal(err)
	}
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"040755 etc ",
		"100600 etc/a abc",
		"040755 bin ",
		"100750 bin/x four",
		"040755 tree ",
		"104750 tree/file four",
		"120777 tree/link file",
		"040755 tree/sub ",
		"100640 tree/sub/inner 12345",
	}
	if diff := cmp.Diff(want, unpack(t, out.Bytes())); diff != "" {
		t.Error(diff)
	}
}

func TestArchiveRefuses(t *testing.T) {
	a := newArchive(&bytes.Buffer{})
	if err := a.copy("/x", t.TempDir()); err == nil {
		t.Error("a directory as a file: want an error")
	}
	if err := a.copy("/x", filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("a missing file: want an error")
	}
	if err := a.copyTree("/x", filepath.Join(t.TempDir(), "missing"), nil); err == nil {
		t.Error("a missing tree: want an error")
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestArchiveTellsOfBrokenOutput(t *testing.T) {
	a := newArchive(brokenWriter{})
	a.add("/x", 0o644, make([]byte, 4<<20))
	if err := a.close(); err == nil {
		t.Error("want an error")
	}
}
