package route

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMerge(t *testing.T) {
	const one, two = "10.0.0.1:80", "10.0.0.2:80"
	end := func(addr string, weight int, h Health) Endpoint {
		e := at(addr, weight)
		e.Health = h
		return e
	}
	for _, c := range []struct {
		name     string
		all, out []Endpoint
	}{
		{"none", nil, nil},
		{"different", []Endpoint{end(one, 1, Passing), end(two, 2, Critical)}, []Endpoint{end(one, 1, Passing), end(two, 2, Critical)}},
		{"best health", []Endpoint{end(one, 9, Critical), end(one, 1, Passing)}, []Endpoint{end(one, 1, Passing)}},
		{"largest weight", []Endpoint{end(one, 2, Passing), end(one, 3, Passing), end(one, 9, Critical)}, []Endpoint{end(one, 3, Passing)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			backwards := slices.Clone(c.all)
			slices.Reverse(backwards)
			for _, all := range [][]Endpoint{c.all, backwards} {
				got := Merge(all)
				slices.SortFunc(got, func(a, b Endpoint) int { return strings.Compare(a.String(), b.String()) })
				if diff := cmp.Diff(c.out, got, cmp.Comparer(Endpoint.Equal)); diff != "" && len(c.out)+len(got) > 0 {
					t.Error(diff)
				}
			}
		})
	}
}
