package explain

import (
	"fmt"
	"slices"
	"strings"
)

// maxShort is how many labels the beginning of a name can have that is to be completed:
// SUBSET.SERVICE.NAMESPACE.DATACENTER.
const maxShort = 4

// complete makes a server name of the beginning of one, if that is what was typed. What
// it returns is not nil when there are several that begin so and none of them is nearer
// than the others.
func (x *explainer) complete() []string {
	name := x.e.Name
	if _, whole := x.parse(name); whole {
		return nil
	}
	if r, _ := x.Facts.Table.Lookup([]byte(name)); r != nil {
		return nil
	}
	short := strings.TrimSuffix(name, ".internal")
	candidates := x.candidates(strings.Split(short, "."))
	for _, c := range candidates {
		if x.Facts.Table.Route(c) != nil {
			x.completed(c)
			return nil
		}
	}
	begin := x.beginning(short + ".")
	switch {
	case len(begin) == 1:
		x.completed(begin[0])
		return nil
	case len(begin) > 1:
		return begin
	}
	// Then it is a name under a wildcard, or one that is to be told missing.
	for _, likely := range []func(string) bool{x.isWild, x.hasWhole, anyName} {
		if i := slices.IndexFunc(candidates, likely); i >= 0 {
			x.completed(candidates[i])
			break
		}
	}
	return nil
}

// isWild tells whether some wildcard stands for the name.
func (x *explainer) isWild(name string) bool {
	r, _ := x.Facts.Table.Lookup([]byte(name))
	return r != nil
}

// hasWhole tells whether the name is a subset's of a service that there is.
func (x *explainer) hasWhole(name string) bool {
	n, _ := ParseName(name)
	return n.Subset != "" && x.Facts.Table.Route(n.whole()) != nil
}

func anyName(string) bool { return true }

func (x *explainer) completed(name string) {
	x.changed(fmt.Sprintf("completed from %s: a client has to send all of it", x.e.Name))
	x.e.Name = name
}

// candidates are the services that the labels may be short for, the likeliest first.
func (x *explainer) candidates(l []string) []string {
	here := x.home.datacenter
	if x.home.domain == "" || len(l) > maxShort {
		return nil
	}
	var all []string
	add := func(subset, service, namespace, datacenter string) {
		if datacenter != "" {
			all = append(all, x.service(subset, service, namespace, datacenter))
		}
	}
	switch len(l) {
	case 1:
		add("", l[0], defaultName, here)
	case 2:
		if slices.Contains(x.known(), l[1]) {
			add("", l[0], defaultName, l[1])
		}
		if x.spaces[l[1]] {
			add("", l[0], l[1], here)
		}
		add(l[0], l[1], defaultName, here)
		add("", l[0], l[1], here)
	case 3:
		if x.spaces[l[1]] { // else it is anybody's name of three labels
			add("", l[0], l[1], l[2])
		}
		if slices.Contains(x.known(), l[2]) {
			add(l[0], l[1], defaultName, l[2])
		}
		if x.spaces[l[2]] {
			add(l[0], l[1], l[2], here)
		}
	case 4:
		if x.spaces[l[2]] {
			add(l[0], l[1], l[2], l[3])
		}
	}
	return all
}

// beginning are the routes whose names begin so, sorted.
func (x *explainer) beginning(prefix string) []string {
	var all []string
	for r := range x.Facts.Table.Routes() {
		if strings.HasPrefix(r.Name, prefix) {
			all = append(all, r.Name)
		}
	}
	slices.Sort(all)
	return all
}

// ambiguous refuses what several routes begin with.
func (x *explainer) ambiguous(names []string) {
	x.refuse(ambiguousName, fmt.Sprintf("no route has the name %s, and the names of %d begin so", x.e.Name, len(names)))
	for _, name := range names[:min(len(names), maxNear)] {
		x.e.Near = append(x.e.Near, Near{Name: name, Leads: x.near(name)})
	}
}
