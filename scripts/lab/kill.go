package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// killIn kills every process whose network namespace is the one at path, this
// one excepted, and waits until they are gone. Only a process that was put into
// the lab can be in its namespace. A path with no namespace has none.
func killIn(path string) error {
	var ns unix.Stat_t
	if err := unix.Stat(path, &ns); errors.Is(err, unix.ENOENT) {
		return nil
	} else if err != nil {
		return err
	}
	const patience = 5 * time.Second
	// A process may fork while the others are being killed: look again until
	// there is none.
	for deadline := time.Now().Add(patience); ; {
		n, err := killOnce(&ns, deadline)
		if err != nil || n == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d processes are still there after %v", n, patience)
		}
	}
}

// killOnce kills those there now and returns how many it found.
func killOnce(ns *unix.Stat_t, deadline time.Time) (found int, err error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	var fds []int
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() || !sameNS(pid, ns) {
			continue
		}
		// The descriptor stays with the process, whoever gets its number next:
		// so look at the namespace again once it is open.
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // ended meanwhile
		}
		fds = append(fds, fd)
		if !sameNS(pid, ns) {
			continue
		}
		found++
		if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return found, fmt.Errorf("kill %d: %w", pid, err)
		}
	}
	for _, fd := range fds {
		left := max(0, time.Until(deadline))
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, int(left.Milliseconds())); err != nil && !errors.Is(err, unix.EINTR) {
			return found, err
		}
	}
	return found, nil
}

func sameNS(pid int, ns *unix.Stat_t) bool {
	var st unix.Stat_t
	err := unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &st)
	return err == nil && st.Dev == ns.Dev && st.Ino == ns.Ino
}
