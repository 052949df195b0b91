package consul

import (
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"
)

// TestLostRights: what is missing in an answer that rights have shortened, and had not
// before, stays. What is there counts, and what is gone in an answer of full length.
func TestLostRights(t *testing.T) {
	a := newFakeAgent(t, false)
	a.services(three)
	r := a.start(nil)
	r.has(wantThree...)
	a.change(func() { a.filter = true })
	a.services(map[string][]string{"a": {"10.0.0.11:80"}, "new": {"10.0.0.5:80"}})
	r.has("a=10.0.0.11:80", "b=10.0.0.2:80", "c=10.0.0.3:80,10.0.0.4:80", "new=10.0.0.5:80")
	if n := strings.Count(r.log.String(), "the token lost rights"); n != 1 {
		t.Errorf("%d lines say that the token lost rights", n)
	}
	a.change(func() { a.filter = false })
	a.services(map[string][]string{"a": {"10.0.0.1:80"}, "b": {"10.0.0.2:80"}, "new": {"10.0.0.5:80"}, "newer": {"10.0.0.6:80"}})
	r.logged("the token has its rights again")
	r.has("a=10.0.0.1:80", "b=10.0.0.2:80", "new=10.0.0.5:80", "newer=10.0.0.6:80")
}

// TestRightsOfOthers: a service is deregistered while the token may not see another.
func TestRightsOfOthers(t *testing.T) {
	r := beliefs(t)
	names := fact{kind: aboutNames}
	of := func(name string) fact { return fact{aboutInstances, name, ""} }
	set := func(all ...string) map[string]struct{} {
		out := map[string]struct{}{}
		for _, name := range all {
			out[name] = struct{}{}
		}
		return out
	}
	r.answer(t, answer{fact: names, value: set("a", "b")}, true)
	r.answer(t, answer{fact: of("a"), value: instancesAt("a", "10.0.0.1:80")}, true)
	r.answer(t, answer{fact: of("b"), value: instancesAt("b", "10.0.0.2:80", "10.0.0.3:80")}, true)
	r.answer(t, answer{fact: names, value: set("b"), filtered: true}, true)
	if len(r.compiler.names) != 2 {
		t.Fatalf("names %v", r.compiler.names)
	}
	r.answer(t, answer{fact: of("b"), value: instancesAt("b", "10.0.0.22:80"), filtered: true}, true)
	if got := r.compiler.instances["b"]; len(got) != 2 || got[0].Service.Address != "10.0.0.22" || got[1].Service.Address != "10.0.0.3" {
		t.Errorf("instances of b: %v", got)
	}
	r.answer(t, answer{fact: of("a"), value: []*api.ServiceEntry{}}, true) // nothing was hidden from this one
	r.answer(t, answer{fact: names, value: set("b"), filtered: true}, true)
	if len(r.compiler.names) != 1 {
		t.Errorf("names %v: a service without instances is not forgotten", r.compiler.names)
	}
	// Of other facts there is no part that could be kept.
	r.answer(t, answer{fact: fact{kind: aboutServers}, value: instancesAt("consul", "10.0.0.9:8300")}, true)
	r.answer(t, answer{fact: fact{kind: aboutServers}, value: []*api.ServiceEntry{}, filtered: true}, false)
}

// beliefs is a source that gets its answers from the test.
func beliefs(t *testing.T) *running {
	v, log := viewOf(nil)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", log)
		}
	})
	return &running{
		watcher: newWatcher(v.Source), compiler: newCompiler(v),
		failing: map[fact]failure{}, filtered: map[fact]bool{}, hidden: map[fact]struct{}{}, told: map[string]bool{},
	}
}

func (r *running) answer(t *testing.T, a answer, want bool) {
	t.Helper()
	value, counts := r.believe(a)
	if counts != want {
		t.Errorf("%s counts: %v", a.fact, counts)
	}
	if counts {
		r.compiler.take(a.fact, value)
	}
}

// TestHidden: a token that never saw all is told about, once, and what it sees counts.
func TestHidden(t *testing.T) {
	a := newFakeAgent(t, false)
	a.services(three)
	a.filter = true
	r := a.start(nil)
	r.has(wantThree...)
	if n := strings.Count(r.log.String(), "service_prefix"); n != 1 {
		t.Errorf("%d lines say that the token does not see all", n)
	}
	a.services(map[string][]string{"a": {"10.0.0.1:80"}, "b": {"10.0.0.2:80"}})
	r.has("a=10.0.0.1:80", "b=10.0.0.2:80")
}

// TestStatus: the source is not connected while a query of this datacenter fails.
func TestStatus(t *testing.T) {
	a := newFakeAgent(t, false)
	a.services(three)
	r := a.start(nil)
	eventually(t, "a connection", func() bool { return r.Status().Connected }, nil)
	r.has(wantThree...)
	a.breaks(status(500, "rpc error"), connectPath+"a")
	eventually(t, "none", func() bool { return !r.Status().Connected }, nil)
	if err := r.Status().Err; err == nil || !strings.Contains(err.Error(), "instances of a") {
		t.Errorf("error %v", err)
	}
	a.mends()
	eventually(t, "a connection again", func() bool { return r.Status().Connected && r.Status().Err == nil }, nil)
}

// TestFailingQueryDropped: a query that failed, and is not asked any more, does not
// keep the source from being connected.
func TestFailingQueryDropped(t *testing.T) {
	a := newFakeAgent(t, false)
	a.services(three)
	r := a.start(nil)
	r.has(wantThree...)
	a.breaks(status(500, "rpc error"), connectPath+"a")
	eventually(t, "no connection", func() bool { return !r.Status().Connected }, nil)
	a.services(map[string][]string{"b": {"10.0.0.2:80"}, "c": {"10.0.0.3:80"}})
	eventually(t, "a connection", func() bool { return r.Status().Connected }, nil)
	r.has("b=10.0.0.2:80", "c=10.0.0.3:80")
}
