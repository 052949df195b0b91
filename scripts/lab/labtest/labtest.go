// Package labtest gives tests a lab: built when asked for, removed when the test
// ends, and skipped where there cannot be one.
package labtest

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/scripts/lab"
)

// patience is how long what ends by itself may take to.
var patience = 10 * time.Second

// NeedRoot skips the test if the process may not create namespaces. With CI=true
// in the environment that is a failure, so that no test goes missing unseen.
func NeedRoot(t testing.TB) {
	t.Helper()
	needRoot(t, os.Geteuid())
}

func needRoot(t testing.TB, euid int) {
	t.Helper()
	if euid == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("needs root to create network namespaces, and CI=true allows no skipping")
	}
	t.Skip("needs root to create network namespaces")
}

// New builds a lab of the namespaces named, or the usual four if none is, and
// removes it when the test ends.
func New(t testing.TB, chain ...string) *lab.Lab {
	t.Helper()
	NeedRoot(t)
	l, err := lab.New("sluice-test", lab.Options{Chain: chain})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		for _, n := range l.Namespaces {
			if _, err := os.Lstat(filepath.Join("/run/netns", n.Full)); err == nil {
				t.Errorf("namespace %s is still there after Close", n.Full)
			}
		}
	})
	return l
}

// NoLeaks fails the test if at its end the process has descriptors of more
// sockets, pipes, files or namespaces than now, or a thread in another network
// namespace. Call it first, so that it looks last, and not in a parallel test.
func NoLeaks(t testing.TB) {
	t.Helper()
	home, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	before := descriptors(t)
	t.Cleanup(func() {
		var fds, strays string
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			fds, strays = cmp.Diff(before, descriptors(t)), strayThreads(t, home)
			if fds == "" && strays == "" {
				return
			}
		}
		if fds != "" {
			t.Errorf("descriptors leaked (- at the start, + now):\n%s", fds)
		}
		if strays != "" {
			t.Errorf("threads left in another namespace than %s:\n%s", home, strays)
		}
	})
}

// descriptors counts the process's open descriptors by what they lead to. Numbers
// of sockets and pipes are left out, as are the runtime's own (epoll, eventfd,
// pidfd), which it makes when first needed.
func descriptors(t testing.TB) map[string]int {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, link := range links {
		to, err := os.Readlink(link)
		if err != nil || strings.HasPrefix(to, "anon_inode:") || strings.HasPrefix(to, "/proc/") {
			continue // the glob's own, or not for us to judge
		}
		if kind, _, ok := strings.Cut(to, ":["); ok && (kind == "socket" || kind == "pipe") {
			to = kind
		}
		count[to]++
	}
	return count
}

// strayThreads lists the threads that are not in the namespace home.
func strayThreads(t testing.TB, home string) string {
	t.Helper()
	links, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	var strays []string
	for _, link := range links {
		if ns, err := os.Readlink(link); err == nil && ns != home {
			strays = append(strays, fmt.Sprintf("%s: %s", link, ns))
		}
	}
	sort.Strings(strays)
	return strings.Join(strays, "\n")
}
