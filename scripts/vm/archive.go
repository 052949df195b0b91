package vm

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// archive writes the root of a machine in the format that the kernel unpacks: cpio
// of the kind "newc", as in Documentation/driver-api/early-userspace/buffer-format.rst
// of the kernel. Directories come by themselves; a name that is there already is
// left as it is.
type archive struct {
	w    *bufio.Writer
	have map[string]bool
	ino  int
	err  error // the first one
}

func newArchive(w io.Writer) *archive {
	return &archive{w: bufio.NewWriterSize(w, 1<<20), have: map[string]bool{}}
}

// types of what an archive has, as in a file's mode
const (
	typeDir  = 0o040000
	typeFile = 0o100000
	typeLink = 0o120000
)

// add writes a file with what it has.
func (a *archive) add(name string, perm fs.FileMode, data []byte) {
	a.entry(entry{name: name, mode: typeFile | uint32(perm.Perm()), size: int64(len(data))}, bytes.NewReader(data))
}

// copy writes a file of this machine, or what a symbolic link leads to.
func (a *archive) copy(name, from string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", from)
	}
	a.entry(entry{name: name, mode: typeFile | uint32(info.Mode().Perm()), size: info.Size()}, f)
	return nil
}

// copyTree writes a directory of this machine and what is in it: directories, files
// and symbolic links, with their owners. What skip reports, by its name in the
// archive, is left out.
func (a *archive) copyTree(name, from string, skip func(name string) bool) error {
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := path.Join(name, filepath.ToSlash(strings.TrimPrefix(p, from)))
		if skip != nil && skip(to) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		return a.copyEntry(to, p)
	})
}

// copyEntry writes a directory, a file or a symbolic link as it is. What is of
// another kind is made by who needs it.
func (a *archive) copyEntry(name, from string) error {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return fmt.Errorf("look at %s: %w", from, err)
	}
	e := entry{name: name, mode: st.Mode, uid: st.Uid, gid: st.Gid}
	switch st.Mode & unix.S_IFMT {
	case typeDir:
		a.entry(e, strings.NewReader(""))
	case typeLink:
		to, err := os.Readlink(from)
		if err != nil {
			return err
		}
		e.size = int64(len(to))
		a.entry(e, strings.NewReader(to))
	case typeFile:
		f, err := os.Open(from)
		if err != nil {
			return err
		}
		defer f.Close()
		e.size = st.Size
		a.entry(e, f)
	}
	return nil
}

// link writes a symbolic link.
func (a *archive) link(name, to string) {
	a.entry(entry{name: name, mode: typeLink | 0o777, size: int64(len(to))}, strings.NewReader(to))
}

// dir writes a directory and those above it.
func (a *archive) dir(name string) {
	a.entry(entry{name: name, mode: typeDir | 0o755}, strings.NewReader(""))
}

// close ends the archive.
func (a *archive) close() error {
	a.put(entry{name: "TRAILER!!!"}, strings.NewReader(""))
	if a.err != nil {
		return a.err
	}
	return a.w.Flush()
}

// entry is the head of what an archive has.
type entry struct {
	name     string
	mode     uint32
	uid, gid uint32
	size     int64
}

func (a *archive) entry(e entry, data io.Reader) {
	e.name = strings.TrimPrefix(path.Clean("/"+e.name), "/")
	if e.name == "" || a.have[e.name] {
		return
	}
	a.have[e.name] = true
	if parent := path.Dir(e.name); parent != "." {
		a.dir(parent)
	}
	a.put(e, data)
}

// put writes one header with its name and data, each filled up to 4 bytes. The
// fields are: inode, mode, user, group, links, time, size, device (2), device that
// a special file is (2), length of the name, sum.
func (a *archive) put(e entry, data io.Reader) {
	if a.err != nil {
		return
	}
	a.ino++
	header := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		a.ino, e.mode, e.uid, e.gid, 1, 0, e.size, 0, 0, 0, 0, len(e.name)+1, 0)
	a.write(header + e.name + "\x00" + fill(len(header)+len(e.name)+1))
	if a.err == nil {
		_, a.err = io.CopyN(a.w, data, e.size)
	}
	a.write(fill(int(e.size % 4)))
}

func (a *archive) write(s string) {
	if a.err == nil {
		_, a.err = a.w.WriteString(s)
	}
}

// fill is what n bytes lack to a multiple of 4.
func fill(n int) string { return "\x00\x00\x00"[:(4-n%4)%4] }
