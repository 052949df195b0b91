package static

import (
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// stamp tells whether a file is still the same. The kernel sets ctime at every
// change of contents, and it cannot be set back as mtime can.
type stamp struct {
	dev, ino uint64
	size     int64
	ctime    unix.Timespec
}

// coarse is how far behind the clock a ctime can be: a tick of the slowest kernels.
const coarse = 10 * time.Millisecond

// stampOf is the zero stamp if there is no such file. Links are followed.
func stampOf(file string) stamp {
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		return stamp{}
	}
	return stamp{dev: uint64(st.Dev), ino: st.Ino, size: st.Size, ctime: st.Ctim}
}

// fresh tells whether the file may yet change within the same tick of its clock,
// so that the stamp would not tell.
func (s stamp) fresh() bool { return time.Since(time.Unix(s.ctime.Unix())) < 2*coarse }

// watcher sees changes in the directories that a file's name leads through: a
// watch on the file itself would stay with the old one when another takes its
// place. Kubernetes, for one, mounts routes.hcl as a link to ..data/routes.hcl,
// and replaces the link ..data. Any event is a reason to look at the file, whatever
// it was about.
type watcher struct {
	file string
	fs   *fsnotify.Watcher // nil if the system has none left
	dirs map[string]bool
}

func newWatcher(file string, open func() (*fsnotify.Watcher, error)) (*watcher, error) {
	w := &watcher{file: file, dirs: map[string]bool{}}
	var err error
	if w.fs, err = open(); err != nil {
		w.fs = nil
		return w, err
	}
	return w, w.follow()
}

// follow puts the watches where the file's name leads now. It is called before
// each look at the file, so that a later change cannot be missed.
func (w *watcher) follow() error {
	if w.fs == nil {
		return nil
	}
	dirs := map[string]bool{filepath.Dir(w.file): true}
	if target, err := filepath.EvalSymlinks(w.file); err == nil {
		dirs[filepath.Dir(target)] = true
	}
	var failed error
	for dir := range dirs {
		// Once more even for a known one: it may be another directory by now.
		if err := w.fs.Add(dir); err != nil {
			failed = err
		}
	}
	for dir := range w.dirs {
		if !dirs[dir] {
			_ = w.fs.Remove(dir) // fails if the directory has gone
		}
	}
	w.dirs = dirs
	return failed
}

// events and errors never deliver anything if there is no watcher.
func (w *watcher) events() <-chan fsnotify.Event {
	if w.fs == nil {
		return nil
	}
	return w.fs.Events
}

func (w *watcher) errors() <-chan error {
	if w.fs == nil {
		return nil
	}
	return w.fs.Errors
}

func (w *watcher) close() {
	if w.fs != nil {
		_ = w.fs.Close() // nothing was written to it
	}
}
