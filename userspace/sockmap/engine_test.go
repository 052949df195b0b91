package sockmap

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"sluice/userspace/slot"
)

// TestPairs lends every pair once, and takes back what it has lent.
func TestPairs(t *testing.T) {
	e := newEngine(t, newFake(3, 1))
	lent := map[uint32]bool{}
	for range 3 {
		pair, ok := e.take()
		if !ok || lent[pair] || pair >= 3 {
			t.Fatalf("take: %d, %t", pair, ok)
		}
		lent[pair] = true
		e.way(pair, 1).Passed.Store(7)
	}
	if _, ok := e.take(); ok || e.Idle() != 0 {
		t.Errorf("lends more than there are; %d idle", e.Idle())
	}
	e.give(1)
	if e.Idle() != 1 || e.ways[3].Passed.Load() != 0 || e.ways[1].Passed.Load() != 7 {
		t.Error("the pair given back is not clear, or another one is")
	}
	if pair, ok := e.take(); pair != 1 || !ok {
		t.Errorf("take: %d, %t", pair, ok)
	}
}

func TestPolicies(t *testing.T) {
	k := newFake(1, 3) // room for two
	e := newEngine(t, k)
	want := func(what string, route string, index uint32, p slot.Policy) {
		t.Helper()
		i, got := e.enter(route, 0)
		e.leave(route, i)
		if i != index || got != p {
			t.Errorf("%s: %s has policy %d %+v, want %d %+v", what, route, i, got, index, p)
		}
	}
	set := func(route string, p slot.Policy) {
		t.Helper()
		if err := e.SetPolicy(route, p); err != nil {
			t.Error(err)
		}
	}
	normal := slot.Policy{Rule: slot.On, Credit: defaultCredit}
	want("at first", "a", 1, normal)

	set("a", slot.Policy{Rule: slot.Off})
	want("a is off", "a", 1, slot.Policy{Rule: slot.Off, Credit: defaultCredit})
	set("b", slot.Policy{Credit: 5000})
	want("b has credit", "b", 2, slot.Policy{Rule: slot.On, Credit: 5000})
	want("no number left", "c", 0, normal)
	if err := e.SetPolicy("c", slot.Policy{}); !errors.Is(err, errTooManyPolicies) {
		t.Errorf("one policy too many: %v", err)
	}
	set("", slot.Policy{Rule: slot.Off})
	want("all are off", "b", 2, slot.Policy{Rule: slot.Off, Credit: 5000})
	set("", slot.Policy{Rule: slot.On, Credit: 1 << 31})
	want("too much credit", "c", 0, slot.Policy{Rule: slot.On, Credit: maxCredit})

	// A number is free again when neither policy nor flow has it.
	index, _ := e.enter("a", 0)
	if err := e.ClearPolicy("a"); err != nil {
		t.Error(err)
	}
	if k.policies[index] != (slot.Policy{}) {
		t.Errorf("the kernel still has policy %+v", k.policies[index])
	}
	want("a has a flow", "c", 0, slot.Policy{Rule: slot.On, Credit: maxCredit})
	e.leave("a", index)
	want("a is gone", "c", 1, slot.Policy{Rule: slot.On, Credit: maxCredit})
	if err := e.ClearPolicy("unheard of"); err != nil {
		t.Error(err)
	}
}

// TestCreditOfTheTable: it is the kernel's for as long as the route has flows, and a
// policy goes before it.
func TestCreditOfTheTable(t *testing.T) {
	k := newFake(1, 3)
	e := newEngine(t, k)
	enter := func(credit, want uint32) uint32 {
		t.Helper()
		index, p := e.enter("a", credit)
		if p.Credit != want || k.policies[index].Credit != p.Credit && k.policies[index].Credit != 0 {
			t.Errorf("credit %d: granted %d, and the kernel has %d; want %d", credit, p.Credit, k.policies[index].Credit, want)
		}
		return index
	}
	index := enter(2<<20, 2<<20)
	enter(3<<20, 3<<20) // the table has changed
	if k.policies[index].Credit != 3<<20 {
		t.Errorf("flows that are under way have %d", k.policies[index].Credit)
	}
	enter(0, defaultCredit)
	enter(1<<31, maxCredit)
	if err := e.SetPolicy("a", slot.Policy{Credit: 100_000}); err != nil {
		t.Error(err)
	}
	enter(2<<20, 100_000)
	if err := e.ClearPolicy("a"); err != nil {
		t.Error(err)
	}
	enter(2<<20, 2<<20)
	for range 6 {
		e.leave("a", index)
	}
	if k.policies[index] != (slot.Policy{}) {
		t.Errorf("without flows the kernel has %+v", k.policies[index])
	}
}

func TestPolicyError(t *testing.T) {
	k := newFake(1, 2)
	e := newEngine(t, k)
	k.fail = errFake
	for _, route := range []string{"", "a"} {
		if err := e.SetPolicy(route, slot.Policy{Rule: slot.Off}); !errors.Is(err, errFake) {
			t.Errorf("set the policy of %q: %v", route, err)
		}
	}
	k.fail = nil
	if index, p := e.enter("b", 0); index != 1 || p.Rule != slot.On {
		t.Errorf("policy %d %+v", index, p)
	}
	if _, err := New(&fakeKernel{fail: errFake, policies: make([]slot.Policy, 1)}, Config{}); !errors.Is(err, errFake) {
		t.Errorf("New: %v", err)
	}
}

func TestFailures(t *testing.T) {
	e := newEngine(t, newFake(1, 1))
	for i := range defaultFailLimit {
		if e.Off() != "" {
			t.Errorf("off after %d failures", i)
		}
		e.failed("of this")
	}
	if want := "3 flows had to be reset, the last one because of this"; e.Off() != want {
		t.Errorf("off because %q, want %q", e.Off(), want)
	}
	e.SwitchOn()
	if e.Off() != "" || e.Broken() != 0 {
		t.Errorf("on again: %q, %d", e.Off(), e.Broken())
	}
}

func TestWhyRefused(t *testing.T) {
	for err, want := range map[error]reason{
		unix.EOPNOTSUPP: notOpen, unix.EBUSY: isBusy, unix.EEXIST: isBusy, unix.EINVAL: hasULP,
		unix.E2BIG: isFull, unix.ENOMEM: noMemory, unix.EBADF: refused, errFake: refused,
	} {
		if got := whyRefused(fmt.Errorf("insert: %w", err)); got != want {
			t.Errorf("%v: %s, want %s", err, reasonNames[got], reasonNames[want])
		}
	}
	seen := map[string]bool{}
	for r, name := range reasonNames {
		if name == "" || seen[name] {
			t.Errorf("reason %d has no name of its own: %q", r, name)
		}
		seen[name] = true
	}
}
