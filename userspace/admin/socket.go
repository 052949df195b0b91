package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// longestPath is what a struct sockaddr_un has room for (unix(7)).
const longestPath = 107

// socket is a listening unix socket with the lock that makes it this process's own.
type socket struct {
	net.Listener
	lock *os.File
}

// listen binds path for root and a group, "" for the process's own. The lock beside the
// socket tells whether the one who bound it lives, so what a dead process has left is
// replaced. The lock's file stays for good: if it were removed, two processes could
// hold the lock on one of that name.
func listen(path, group string) (*socket, error) {
	if len(path) > longestPath {
		return nil, fmt.Errorf("the path is longer than the %d bytes that a socket's may have", longestPath)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make its directory: %w", err)
	}
	gid, err := GroupID(group)
	if err != nil {
		return nil, err
	}
	lock, err := takeLock(path + ".lock")
	if err != nil {
		return nil, err
	}
	l, err := bind(path, gid)
	if err != nil {
		lock.Close()
		return nil, err
	}
	return &socket{l, lock}, nil
}

// Close removes the socket, and then gives the lock back.
func (s *socket) Close() error { return errors.Join(s.Listener.Close(), s.lock.Close()) }

func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open its lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if err == unix.EWOULDBLOCK {
			return nil, ErrInUse
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

func bind(path string, gid int) (net.Listener, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	// The mode of the socket itself is that of its file until chmod: nobody may connect
	// before it is right.
	shut := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0) }), err)
	}}
	l, err := shut.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chown(path, -1, gid); err != nil {
		return nil, errors.Join(fmt.Errorf("give it to its group: %w", err), l.Close())
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return nil, errors.Join(fmt.Errorf("open it to its group: %w", err), l.Close())
	}
	return l, nil
}

// removeStale removes the socket of a process that has died. The lock is ours, so no
// agent lives there; but what is no agent's is left alone.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at what is there: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("a file that is no socket is there")
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return errors.New("another program answers there")
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove the socket that a dead process has left: %w", err)
	}
	return nil
}

// GroupID is the number of a group, by its name or number; -1 for "", as chown has it.
func GroupID(group string) (int, error) {
	if group == "" {
		return -1, nil
	}
	if n, err := strconv.ParseUint(group, 10, 31); err == nil {
		return int(n), nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return 0, fmt.Errorf("find the group: %w", err)
	}
	n, err := strconv.Atoi(g.Gid)
	if err != nil {
		return 0, fmt.Errorf("find the group %s: its number is %q", group, g.Gid)
	}
	return n, nil
}
