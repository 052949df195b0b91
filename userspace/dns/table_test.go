package dns

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"sluice/userspace/route"
)

// TestFirstWait has the first table published though nobody answers.
func TestFirstWait(t *testing.T) {
	s := newServer(t)
	s.set("dead.test.", zone{mute: true})
	s.set("live.test.", zone{addrs: ips("192.0.2.1")})
	begin := time.Now()
	r := run(t, s, func(o *Options) { o.FirstWait = 300 * time.Millisecond; o.Attempt = 10 * time.Second })
	r.Apply(table(t, nil, "a=dead.test.:443", "b=live.test.:443", "c=192.0.2.9:1"))
	first := r.wait("a table", func(*route.Table) bool { return true })
	if got := r.first.Sub(begin); got < 300*time.Millisecond {
		t.Errorf("published after %v, though a name was not answered", got)
	}
	if got := at(first, "a"); len(got) > 0 || len(first.Cluster("a").Endpoints) != 1 {
		t.Errorf("the cluster of the dead name is at %v", got)
	}
	if got := at(first, "c"); !slices.Equal(got, []string{"192.0.2.9:1"}) {
		t.Errorf("the cluster with an address is at %v", got)
	}
	// A later table does not wait for the same name once more.
	r.Apply(table(t, nil, "a=dead.test.:443", "c=192.0.2.8:1"))
	r.want("c", "192.0.2.8:1")
}

// TestDeadServerComesToLife has the first table go out without addresses, and the
// next with them.
func TestDeadServerComesToLife(t *testing.T) {
	s := newServer(t)
	s.stop()
	r := run(t, s, nil)
	r.Apply(table(t, nil, "a=api.test.:443"))
	r.want("a")
	s.set("api.test.", zone{addrs: ips("192.0.2.1")})
	s.restart()
	r.want("a", "192.0.2.1:443")
}

// TestNewNames has a known name keep its addresses when the table changes, without
// another question, and a new one waited for.
func TestNewNames(t *testing.T) {
	s := newServer(t)
	s.set("old.test.", zone{addrs: ips("192.0.2.1")})
	s.set("new.test.", zone{addrs: ips("192.0.2.2")})
	r := run(t, s, nil)
	one := table(t, nil, "a=old.test.:443")
	r.Apply(one)
	r.want("a", "192.0.2.1:443")
	two := table(t, one, "a=old.test.:443", "b=old.test.:443", "c=new.test.:443")
	r.Apply(two)
	out := r.want("c", "192.0.2.2:443")
	if got := at(out, "b"); !slices.Equal(got, []string{"192.0.2.1:443"}) {
		t.Errorf("b is at %v", got)
	}
	if n := len(r.published()); n != 2 {
		t.Errorf("%d tables published, want 2: with the name answered already", n)
	}
	if n := len(s.times("old.test.")); n != 1 {
		t.Errorf("the known name was asked for %d times", n)
	}

	// Names that are gone are forgotten.
	three := table(t, two, "c=new.test.:443")
	r.Apply(three)
	r.wait("two clusters gone", func(out *route.Table) bool { _, n := out.Len(); return n == 1 })
	r.Apply(table(t, three, "a=old.test.:443", "c=new.test.:443"))
	r.want("a", "192.0.2.1:443")
	if a, c := len(s.times("old.test.")), len(s.times("new.test.")); a != 2 || c != 1 {
		t.Errorf("asked %d times for the name that went and came back, %d times for the one that stayed", a, c)
	}
}

// TestSwapDuringLookups has one table after the other while nothing is answered.
func TestSwapDuringLookups(t *testing.T) {
	s := newServer(t)
	hold := make(chan struct{})
	for i := range 4 {
		s.set(fmt.Sprintf("n%d.test.", i), zone{addrs: ips(fmt.Sprintf("192.0.2.%d", i+1)), hold: hold})
	}
	r := run(t, s, func(o *Options) { o.Attempt = 10 * time.Second })
	var last *route.Table
	for i := range 4 {
		last = table(t, last, fmt.Sprintf("a=n%d.test.:443", i), "b=n0.test.:443")
		r.Apply(last)
		eventually(t, "asked", func() bool { return len(s.times(fmt.Sprintf("n%d.test.", i))) > 0 })
	}
	if n := len(r.published()); n != 0 {
		t.Errorf("%d tables published before any answer", n)
	}
	close(hold)
	out := r.want("a", "192.0.2.4:443")
	if got := at(out, "b"); !slices.Equal(got, []string{"192.0.2.1:443"}) {
		t.Errorf("b is at %v", got)
	}
	if n := len(r.published()); n != 1 {
		t.Errorf("%d tables published, want the last one only", n)
	}
	if n := len(s.times("n0.test.")); n != 1 {
		t.Errorf("asked %d times for the name that stayed", n)
	}
}

func TestBoundedLookups(t *testing.T) {
	s := newServer(t)
	hold := make(chan struct{})
	var clusters []string
	for i := range 40 {
		s.set(fmt.Sprintf("n%d.test.", i), zone{addrs: ips("192.0.2.1"), hold: hold})
		clusters = append(clusters, fmt.Sprintf("c%d=n%d.test.:443", i, i))
	}
	r := run(t, s, func(o *Options) { o.Lookups = 4; o.Attempt = 10 * time.Second })
	r.Apply(table(t, nil, clusters...))
	busy := func() (now, most int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.busy, s.busiest
	}
	eventually(t, "four look-ups", func() bool { n, _ := busy(); return n == 4 })
	close(hold)
	out := r.want("c39", "192.0.2.1:443")
	if _, n := busy(); n != 4 {
		t.Errorf("%d look-ups at one time, want 4", n)
	}
	for c := range out.Clusters() {
		if len(at(out, c.Name)) == 0 {
			t.Errorf("%s has no address", c.Name)
		}
	}
}

// TestCountsLiveOn goes from a table without names to one with, and back: flows are
// counted in the same place all the time.
func TestCountsLiveOn(t *testing.T) {
	s := newServer(t)
	s.set("api.test.", zone{addrs: ips("192.0.2.1")})
	r := run(t, s, nil)
	one := table(t, nil, "a=192.0.2.9:1")
	two := table(t, one, "a=192.0.2.9:1", "b=api.test.:443")
	three := table(t, two, "a=192.0.2.9:1", "b=192.0.2.2:2")
	four := table(t, three, "a=192.0.2.9:2", "b=192.0.2.2:2")
	r.Apply(one)
	a := r.want("a", "192.0.2.9:1")
	r.Apply(two)
	b := r.want("b", "192.0.2.1:443")
	r.Apply(three)
	c := r.want("b", "192.0.2.2:2")
	r.Apply(four)
	d := r.want("a", "192.0.2.9:2")
	load := a.Cluster("a").Endpoints[0].Load
	if b.Cluster("a").Endpoints[0].Load != load || c.Cluster("a").Endpoints[0].Load != load {
		t.Error("an endpoint's counts were lost")
	}
	for _, next := range []*route.Table{b, c, d} {
		if next.Route("a.test").Load != a.Route("a.test").Load {
			t.Error("a route's counts were lost")
		}
	}
	if c.Route("b.test").Load != b.Route("b.test").Load || d.Route("b.test").Load != b.Route("b.test").Load {
		t.Error("the counts of a route that a resolved table had first were lost")
	}
	if n := d.Source(); n != "test" {
		t.Errorf("source is %q", n)
	}
}

// TestRemoved takes routes and clusters away from a table with names.
func TestRemoved(t *testing.T) {
	s := newServer(t)
	s.set("api.test.", zone{addrs: ips("192.0.2.1")})
	r := run(t, s, nil)
	one := table(t, nil, "a=api.test.:443", "b=api.test.:443", "c=192.0.2.9:1")
	r.Apply(one)
	r.want("a", "192.0.2.1:443")
	r.Apply(table(t, one, "b=api.test.:443"))
	out := r.wait("one cluster", func(out *route.Table) bool { _, n := out.Len(); return n == 1 })
	if out.Route("a.test") != nil || out.Route("c.test") != nil || out.Route("b.test") == nil {
		t.Errorf("%v has the wrong routes", out)
	}
	if out.Index() != one.Index() {
		t.Errorf("of %q, and the source's is of %q", out.Index(), one.Index())
	}
}
