package admin

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func open(t *testing.T, path, group string) (*Server, error) {
	t.Helper()
	s, err := Listen(Options{Socket: path, Group: group, Log: slog.New(slog.DiscardHandler)}, &fake{})
	if err == nil {
		t.Cleanup(func() { s.Close(context.Background()) })
	}
	return s, err
}

// leave makes the socket of a process that died: nobody answers there.
func leave(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

func answers(t *testing.T, path string) {
	t.Helper()
	c := NewClient(path)
	defer c.Close()
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("nobody answers: %v", err)
	}
}

func TestSocketMode(t *testing.T) {
	old := unix.Umask(0) // which must not matter
	defer unix.Umask(old)
	path := filepath.Join(t.TempDir(), "made", "a.sock")
	gid := os.Getegid()
	if os.Geteuid() == 0 {
		gid = 4321
	}
	if _, err := open(t, path, strconv.Itoa(gid)); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := fs.ModeSocket | 0o660; info.Mode() != want {
		t.Errorf("mode %v, want %v", info.Mode(), want)
	}
	if got := int(info.Sys().(*syscall.Stat_t).Gid); got != gid {
		t.Errorf("group %d, want %d", got, gid)
	}
	answers(t, path)
}

func TestSocketGroup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	if _, err := open(t, path, "no such group"); err == nil || !strings.Contains(err.Error(), "find the group") {
		t.Errorf("a group that there is not: %v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was made all the same: %v", err)
	}
	if os.Geteuid() == 0 {
		if _, err := open(t, path, "root"); err != nil {
			t.Error(err)
		}
	}
}

func TestSocketStale(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	leave(t, path)
	if _, err := open(t, path, ""); err != nil {
		t.Fatal(err)
	}
	answers(t, path)
}

func TestSocketInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	first, err := open(t, path, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, path, ""); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), path) {
		t.Errorf("the second one: %v, want %v", err, ErrInUse)
	}
	answers(t, path)
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket stays after the end: %v", err)
	}
	if _, err := open(t, path, ""); err != nil {
		t.Errorf("after the end of the first: %v", err)
	}
	answers(t, path)
}

// TestSocketForeign: what is not an agent's is left alone.
func TestSocketForeign(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, file, ""); err == nil {
		t.Error("a file was taken for a socket")
	}
	if b, err := os.ReadFile(file); string(b) != "precious" {
		t.Errorf("the file has %q, %v", b, err)
	}
	path := filepath.Join(t.TempDir(), "theirs.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := open(t, path, ""); err == nil || errors.Is(err, ErrInUse) {
		t.Errorf("another program's socket was taken: %v", err)
	}
	if _, err := open(t, filepath.Join(t.TempDir(), strings.Repeat("x", longestPath)), ""); err == nil || !strings.Contains(err.Error(), "longer") {
		t.Errorf("a path too long: %v", err)
	}
}

func TestNoAgent(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "a.sock")
	stale := filepath.Join(t.TempDir(), "b.sock")
	leave(t, stale)
	for _, path := range []string{missing, stale} {
		_, err := NewClient(path).Status(t.Context())
		if want := "no agent answers at " + path + ": is it running?"; !errors.Is(err, ErrNoAgent) || err.Error() != want {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// connectAs connects with the rights of another user, who is in one group.
func connectAs(t *testing.T, path string, uid, gid int) error {
	t.Helper()
	result := make(chan error)
	go func() {
		// The system calls change this thread alone, which is never unlocked: it goes.
		runtime.LockOSThread()
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			result <- err
			return
		}
		defer unix.Close(fd)
		for _, call := range [][4]uintptr{
			{unix.SYS_SETGROUPS, 0, 0, 0},
			{unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)},
			{unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)},
		} {
			if _, _, errno := unix.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
				result <- errno
				return
			}
		}
		result <- unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	}()
	return <-result
}

// TestGroupMembers may use the socket, and others may not.
func TestGroupMembers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to be somebody else")
	}
	dir, err := os.MkdirTemp("", "sluice")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "a.sock")
	if _, err := open(t, path, "4321"); err != nil {
		t.Fatal(err)
	}
	if err := connectAs(t, path, 65534, 4321); err != nil {
		t.Errorf("a member of the group: %v", err)
	}
	if err := connectAs(t, path, 65534, 4322); err != unix.EACCES {
		t.Errorf("somebody else: %v, want %v", err, unix.EACCES)
	}
}

// TestNoRight: root, who runs tests, has all rights, so the error is made up.
func TestNoRight(t *testing.T) {
	c := NewClient("/some.sock")
	err := c.explain(&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", unix.EACCES)})
	if !strings.Contains(err.Error(), "no right") || errors.Is(err, ErrNoAgent) {
		t.Error(err)
	}
}

// TestOtherProgram: an answer that is no agent's is told as such.
func TestOtherProgram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := http.Server{Handler: http.NotFoundHandler()}
	defer s.Close()
	go s.Serve(l)
	c := NewClient(path)
	defer c.Close()
	if _, err := c.Status(t.Context()); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("got %v", err)
	}
}

func TestSocketOf(t *testing.T) {
	if got, want := SocketOf("default"), "/run/sluice/default.sock"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
