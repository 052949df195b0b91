package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Namespace is one network namespace of a lab.
type Namespace struct {
	Name string // its name in the chain
	Full string // its name in /run/netns, for ip netns exec

	// The links to its neighbours, nil at the ends of the chain. Left's address
	// is the one by which those further left know the namespace.
	Left, Right *Link

	lab    *Lab
	handle netns.NsHandle
}

var (
	errNoNamespace = errors.New("lab: no such namespace, or closed")
	errExited      = errors.New("lab: the function given to Do ended its goroutine")
)

// newNamespace creates and names a namespace of the lab.
func newNamespace(l *Lab, name string) (*Namespace, error) {
	n := &Namespace{Name: name, Full: l.ID + "-" + name, lab: l, handle: netns.None()}
	err := onThread(func() (err error) {
		n.handle, err = netns.NewNamed(n.Full)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("create namespace %s: %w", n.Full, err)
	}
	return n, nil
}

// onThread runs fn on an operating-system thread that fn may move to another
// namespace, and moves the thread back. A thread that cannot be moved back
// stays locked to its goroutine, so it ends with it and nobody else gets it.
func onThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		err := errExited // unless fn returns; Goexit and t.FailNow do not
		defer func() { done <- err }()
		runtime.LockOSThread()
		home, e := netns.Get()
		if e != nil {
			runtime.UnlockOSThread()
			err = fmt.Errorf("open this thread's namespace: %w", e)
			return
		}
		defer home.Close()
		defer func() {
			if e := netns.Set(home); e != nil {
				err = errors.Join(err, fmt.Errorf("return to the thread's namespace: %w", e))
				return
			}
			runtime.UnlockOSThread()
		}()
		err = fn()
	}()
	return <-done
}

// Do runs fn on a thread that is in the namespace and returns its error. Sockets
// that fn opens, and processes that it starts, stay in the namespace after it.
//
// Goroutines that fn starts are NOT in the namespace: they run on any thread. So
// whatever opens sockets on goroutines of its own, as net.Dial does for a host
// name, or http.Get, must be given Dial or Listen instead. fn runs on a goroutine
// of its own too: a test must not call t.Fatal in it but return an error.
func (n *Namespace) Do(fn func() error) error {
	if n == nil || !n.handle.IsOpen() {
		return errNoNamespace
	}
	return onThread(func() error {
		if err := netns.Set(n.handle); err != nil {
			return fmt.Errorf("enter namespace %s: %w", n.Full, err)
		}
		return fn()
	})
}

// Listen is net.Listen in the namespace, without MPTCP. The address must be a
// literal one, as must Dial's.
func (n *Namespace) Listen(network, addr string) (net.Listener, error) {
	if err := literal(addr); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	var ln net.Listener
	err := n.Do(func() (err error) {
		ln, err = lc.Listen(context.Background(), network, addr)
		return err
	})
	return ln, err
}

// Dial connects from within the namespace. It fits http.Transport.DialContext.
func (n *Namespace) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if err := literal(addr); err != nil {
		return nil, err
	}
	var d net.Dialer
	var conn net.Conn
	err := n.Do(func() (err error) {
		conn, err = d.DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// literal refuses names: resolving one happens on other goroutines, and so in
// another namespace.
func literal(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("lab: address %q: %w", addr, err)
	}
	if host == "" {
		return nil
	}
	if _, err := netip.ParseAddr(host); err != nil {
		return fmt.Errorf("lab: address %q: the host must be an IP address", addr)
	}
	return nil
}

// Start starts the command inside the namespace. What it starts is killed when
// the lab closes, should it still run then; waiting for it is the caller's.
func (n *Namespace) Start(cmd *exec.Cmd) error {
	return n.Do(cmd.Start) // a child begins in the namespace of the thread that forks
}

// Run starts the command inside the namespace and waits for its end.
func (n *Namespace) Run(cmd *exec.Cmd) error {
	if err := n.Start(cmd); err != nil {
		return err
	}
	return cmd.Wait()
}

// Output runs a command inside the namespace and returns what it wrote to its
// standard output; a failure's error has the standard error's text.
func (n *Namespace) Output(ctx context.Context, name string, args ...string) (string, error) {
	return n.output(exec.CommandContext(ctx, name, args...))
}

// adminTool is the path of a tool of the administrator's, which may not be on the
// path of a root that came by su.
func adminTool(name string) string {
	if _, err := exec.LookPath(name); err != nil {
		return "/usr/sbin/" + name
	}
	return name
}

func (n *Namespace) output(cmd *exec.Cmd) (string, error) {
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := n.Run(cmd); err != nil {
		return out.String(), fmt.Errorf("%s in %s: %w: %s", filepath.Base(cmd.Path), n.fullName(), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// Sysctl sets a setting of the namespace, named with dots.
func (n *Namespace) Sysctl(key, value string) error {
	path := filepath.Join("/proc/sys", strings.ReplaceAll(key, ".", "/"))
	err := n.Do(func() error { return os.WriteFile(path, []byte(value), 0) })
	if err != nil {
		return fmt.Errorf("sysctl %s=%s in %s: %w", key, value, n.fullName(), err)
	}
	return nil
}

func (n *Namespace) fullName() string {
	if n == nil {
		return "no namespace"
	}
	return n.Full
}

// netlink gives fn a netlink connection to the namespace.
func (n *Namespace) netlink(fn func(*netlink.Handle) error) error {
	if n == nil || !n.handle.IsOpen() {
		return errNoNamespace
	}
	h, err := netlink.NewHandleAt(n.handle)
	if err != nil {
		return fmt.Errorf("netlink in %s: %w", n.Full, err)
	}
	defer h.Close()
	return fn(h)
}

func (n *Namespace) close() {
	if n.handle.IsOpen() {
		n.handle.Close()
	}
}
