package tests

import (
	"fmt"
	"testing"

	"sluice/scripts/lab"
	"sluice/tests/harness"
)

func TestLoss(t *testing.T) {
	for _, c := range []struct {
		percent float64
		bytes   int
	}{{0.1, 32 << 20}, {1, 8 << 20}, {5, 1 << 20}} {
		t.Run(fmt.Sprintf("%v percent", c.percent), func(t *testing.T) {
			eachPath(t, []layout{oneHop, twoHops}, func(t *testing.T, s *site) {
				throughDisorder(t, s, c.bytes, s.loss(c.percent))
			})
		})
	}
}

func TestReordering(t *testing.T) {
	eachPath(t, []layout{oneHop, oneHop6, twoHops}, func(t *testing.T, s *site) {
		throughDisorder(t, s, 16<<20, s.reordering(2))
	})
}

func TestDuplicates(t *testing.T) {
	eachPath(t, []layout{oneHop, twoHops}, func(t *testing.T, s *site) {
		throughDisorder(t, s, 32<<20, s.duplicates(2))
	})
}

// TestAllDisorder has segments lost, late and double at once.
func TestAllDisorder(t *testing.T) {
	eachPath(t, []layout{oneHop, twoHops}, func(t *testing.T, s *site) {
		throughDisorder(t, s, 4<<20, s.loss(0.5), s.reordering(1), s.duplicates(1))
	})
}

// disorder lays a kind of rule on every link of a lab.
type disorder func() ([]*lab.Rule, error)

func (s *site) loss(percent float64) disorder {
	return func() (rules []*lab.Rule, err error) {
		for _, ns := range s.Namespaces {
			r, err := ns.Loss(percent)
			if err != nil {
				return nil, err
			}
			rules = append(rules, r)
		}
		return rules, nil
	}
}

func (s *site) reordering(percent float64) disorder {
	return s.onLinks(percent, (*lab.Namespace).Reorder)
}

func (s *site) duplicates(percent float64) disorder {
	return s.onLinks(percent, (*lab.Namespace).Duplicate)
}

func (s *site) onLinks(percent float64, rule func(*lab.Namespace, *lab.Link, float64) (*lab.Rule, error)) disorder {
	return func() (rules []*lab.Rule, err error) {
		for _, ns := range s.Namespaces {
			for _, link := range []*lab.Link{ns.Left, ns.Right} {
				if link == nil {
					continue
				}
				r, err := rule(ns, link, percent)
				if err != nil {
					return nil, err
				}
				rules = append(rules, r)
			}
		}
		return rules, nil
	}
}

// throughDisorder sends bytes both ways while single segments meet the rules of each
// kind, and ends the flow without them.
func throughDisorder(t *testing.T, s *site, bytes int, kinds ...disorder) {
	if !s.wired() {
		t.Skip("nothing is between these")
	}
	t.Helper()
	harness.Must(t, s.Offloads(false))
	rules := lay(t, kinds)
	f := s.open(t)
	n := int64(harness.Scale(bytes))
	harness.All(t, bothWays(f, n, n, 64<<10)...)
	wantMet(t, rules)
	s.wantRecords(t, "closed", n, n)
	for _, g := range s.gateways {
		wantGrown(t, g, s.path.disordered)
	}
}

func lay(t *testing.T, kinds []disorder) (rules []*lab.Rule) {
	t.Helper()
	for _, kind := range kinds {
		of, err := kind()
		harness.Must(t, err)
		rules = append(rules, of...)
	}
	return rules
}

// wantMet removes the rules and expects that some packet met one.
func wantMet(t *testing.T, rules []*lab.Rule) {
	t.Helper()
	met := uint64(0)
	for _, r := range rules {
		packets, err := r.Packets()
		harness.Must(t, err)
		met += packets
		harness.Must(t, r.Remove())
	}
	if met == 0 {
		t.Error("no packet met a rule, so nothing was tested")
	}
}
