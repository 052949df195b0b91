package lab_test

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"sluice/scripts/lab"
	"sluice/scripts/lab/labtest"
)

// congestion is the algorithm that a connection uses.
func congestion(conn *net.TCPConn) (string, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return "", err
	}
	var name string
	e := raw.Control(func(fd uintptr) {
		name, err = unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
	})
	return strings.TrimRight(name, "\x00"), errors.Join(e, err)
}

func threadNS() (string, error) { return os.Readlink("/proc/thread-self/ns/net") }

func TestDo(t *testing.T) {
	labtest.NoLeaks(t)
	l := labtest.New(t, "a", "b")
	home, err := threadNS()
	if err != nil {
		t.Fatal(err)
	}
	inside := func(n *lab.Namespace) string {
		var ns string
		if err := n.Do(func() (err error) { ns, err = threadNS(); return err }); err != nil {
			t.Error(err)
		}
		return ns
	}
	a, b := inside(l.NS("a")), inside(l.NS("b"))
	if a == b || a == home || b == home {
		t.Errorf("host %s, a %s, b %s: want three namespaces", home, a, b)
	}

	t.Run("error", func(t *testing.T) {
		sentinel := errors.New("sentinel")
		if err := l.NS("a").Do(func() error { return sentinel }); err != sentinel {
			t.Errorf("got %v, want the function's own error", err)
		}
	})
	t.Run("nested", func(t *testing.T) {
		err := l.NS("a").Do(func() error {
			if got := inside(l.NS("b")); got != b {
				t.Errorf("b inside a is %s, want %s", got, b)
			}
			if got, err := threadNS(); got != a {
				t.Errorf("after it the thread is in %s, %v; want %s", got, err, a)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("exit", func(t *testing.T) {
		if err := l.NS("a").Do(func() error { runtime.Goexit(); return nil }); err == nil {
			t.Error("a function that does not return: no error")
		}
	})
	t.Run("many at once", func(t *testing.T) {
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				n, want := l.NS("a"), a
				if i%2 == 1 {
					n, want = l.NS("b"), b
				}
				if got := inside(n); got != want {
					t.Errorf("in %s the thread is in %s, want %s", n.Name, got, want)
				}
			})
		}
		wg.Wait()
	})
	if got, err := threadNS(); got != home {
		t.Errorf("the test's own thread is in %s, %v; want %s", got, err, home)
	}
}

func TestNilNamespace(t *testing.T) {
	var none *lab.Namespace
	for name, try := range map[string]func() error{
		"Do":        func() error { return none.Do(func() error { return nil }) },
		"Sysctl":    func() error { return none.Sysctl("net.ipv4.ip_forward", "1") },
		"Offloads":  func() error { return none.Offloads(nil, true) },
		"MTU":       func() error { return none.MTU(nil, 1500) },
		"Loss":      func() error { _, err := none.Loss(1); return err },
		"Duplicate": func() error { _, err := none.Duplicate(nil, 1); return err },
		"Reorder":   func() error { _, err := none.Reorder(nil, 1); return err },
		"Listen":    func() error { _, err := none.Listen("tcp", "127.0.0.1:0"); return err },
		"Dial":      func() error { _, err := none.Dial(context.Background(), "tcp", "127.0.0.1:1"); return err },
		"Output":    func() error { _, err := none.Output(context.Background(), "true"); return err },
		"BlackHole": func() error { _, err := none.BlackHole(netip4(1)); return err },
	} {
		if try() == nil {
			t.Errorf("%s of no namespace: no error", name)
		}
	}
}

func TestLiteralAddressesOnly(t *testing.T) {
	l := labtest.New(t, "a")
	for _, addr := range []string{"localhost:80", "127.0.0.1", "example.com:443", "[::1]"} {
		if ln, err := l.NS("a").Listen("tcp", addr); err == nil {
			t.Errorf("Listen %q: no error", addr)
			ln.Close()
		}
		if conn, err := l.NS("a").Dial(context.Background(), "tcp", addr); err == nil {
			t.Errorf("Dial %q: no error", addr)
			conn.Close()
		}
	}
}

func TestOutput(t *testing.T) {
	l := labtest.New(t, "a")
	if err := l.NS("a").Sysctl("net.ipv4.ip_local_port_range", "20000\t20010"); err != nil {
		t.Error(err)
	}
	out, err := l.NS("a").Output(context.Background(), "cat", "/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil || out != "20000\t20010\n" {
		t.Errorf("the setting is %q, %v; want what was set", out, err)
	}
	_, err = l.NS("a").Output(context.Background(), "sh", "-c", "echo because >&2; exit 3")
	if err == nil || !strings.Contains(err.Error(), "because") || !strings.Contains(err.Error(), l.NS("a").Full) {
		t.Errorf("error of a failed command: %v; want its words and the namespace", err)
	}
	if err := l.NS("a").Sysctl("net.ipv4.no_such_thing", "1"); err == nil {
		t.Error("an unknown sysctl: no error")
	}
}
