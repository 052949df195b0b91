package labtest

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
)

// fake is a test that only remembers what becomes of it.
type fake struct {
	testing.TB // the real one, for what is not overridden
	said       []string
	cleanups   []func()
}

func (f *fake) Helper()                   {}
func (f *fake) Cleanup(fn func())         { f.cleanups = append(f.cleanups, fn) }
func (f *fake) Errorf(s string, a ...any) { f.said = append(f.said, "error: "+fmt.Sprintf(s, a...)) }
func (f *fake) Fatal(a ...any)            { f.said = append(f.said, "fatal: "+fmt.Sprint(a...)) }
func (f *fake) Skip(a ...any)             { f.said = append(f.said, "skip: "+fmt.Sprint(a...)) }
func (f *fake) end() string {
	for _, fn := range f.cleanups {
		fn()
	}
	return strings.Join(f.said, "\n")
}

func TestNeedRoot(t *testing.T) {
	for _, c := range []struct {
		euid     int
		ci, want string
	}{
		{0, "", ""}, {0, "true", ""}, {1000, "", "skip: "}, {1000, "true", "fatal: "},
	} {
		t.Setenv("CI", c.ci)
		f := &fake{TB: t}
		needRoot(f, c.euid)
		if got := f.end(); !strings.HasPrefix(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("euid %d, CI=%q: %q, want %q", c.euid, c.ci, got, c.want)
		}
	}
}

func TestNoLeaks(t *testing.T) {
	defer func(d time.Duration) { patience = d }(patience)
	patience = 50 * time.Millisecond

	f := &fake{TB: t}
	NoLeaks(f)
	if got := f.end(); got != "" {
		t.Errorf("nothing leaked, but: %s", got)
	}

	f = &fake{TB: t}
	NoLeaks(f)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	got := f.end()
	r.Close()
	w.Close()
	if !strings.Contains(got, `"pipe"`) {
		t.Errorf("a pipe leaked, but: %q", got)
	}
}

func TestNoLeaksOfThreads(t *testing.T) {
	NeedRoot(t)
	defer func(d time.Duration) { patience = d }(patience)
	patience = 50 * time.Millisecond

	f := &fake{TB: t}
	NoLeaks(f)
	there, leave, left := make(chan error), make(chan bool), make(chan bool)
	go func() {
		defer close(left)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		ns, err := netns.New()
		ns.Close()
		there <- err
		<-leave
	}()
	if err := <-there; err != nil {
		t.Fatal(err)
	}
	got := f.end()
	close(leave)
	<-left
	if !strings.Contains(got, "threads left") {
		t.Errorf("a thread is in another namespace, but: %q", got)
	}
}
