package explain

import (
	"cmp"
	"slices"
	"strings"
)

// Near is a name that a flow would get somewhere with.
type Near struct {
	Name  string `json:"name"`
	Leads string `json:"leads"` // where
}

// maxNear is how many near misses are told.
const maxNear = 5

// What makes a name less near than another, in edits.
const (
	otherSubset = 1
	otherTrust  = 2
	otherForm   = 3
	mostOfPart  = 2 // of a namespace, datacenter, peer or subset, however it differs
)

// miss is a name and how far off it is.
type miss struct {
	name string
	far  int
}

// nearest are the names that may have been meant. Names of Consul's are compared part
// by part: a service is near if it differs in a letter, and the same service of another
// namespace is near, but "web" is not near to "db" for all that they have in common.
func (x *explainer) nearest() []Near {
	var all []miss
	if x.e.Consul != nil {
		all = x.elsewhere(*x.e.Consul)
	}
	for r := range x.Facts.Table.Routes() {
		if far, ok := x.far(r.Name); ok {
			all = append(all, miss{r.Name, far})
		}
	}
	slices.SortFunc(all, func(a, b miss) int { return cmp.Or(cmp.Compare(a.far, b.far), cmp.Compare(a.name, b.name)) })
	all = slices.CompactFunc(all, func(a, b miss) bool { return a.name == b.name })
	near := []Near{}
	for _, m := range all[:min(len(all), maxNear)] {
		near = append(near, Near{Name: m.name, Leads: x.near(m.name)})
	}
	return near
}

// near says where a name leads that some route has.
func (x *explainer) near(name string) string {
	r, _ := x.Facts.Table.Lookup([]byte(name))
	return x.leadsOf(r).Text
}

// elsewhere is the same name in each other datacenter that there is a way to, when
// there is none to its own. However little their names are alike, they are all there
// is to choose from.
func (x *explainer) elsewhere(n Name) []miss {
	if n.Datacenter == "" || x.ways[n.Datacenter] || n.Datacenter == x.home.datacenter {
		return nil
	}
	var all []miss
	was := n.Datacenter
	for dc := range x.ways {
		n.Datacenter = dc
		if r, _ := x.Facts.Table.Lookup([]byte(n.String())); r != nil {
			all = append(all, miss{n.String(), distance(was, dc, len(was)+len(dc))})
		}
	}
	return all
}

// far is how far off a route's name is, and false if it is too far.
func (x *explainer) far(name string) (int, bool) {
	if strings.HasPrefix(name, "*") {
		return 0, false // elsewhere knows better what is under it
	}
	n, ok := ParseName(name)
	want := x.e.Consul
	if !ok || want == nil {
		return edits(x.typed, name)
	}
	switch {
	case want.isService() && n.isService():
		return want.far(&n)
	case want.Form == n.Form:
		return edits(x.e.Name, name)
	}
	return 0, false
}

func (n *Name) isService() bool { return n.Form == Service || n.Form == Peered }

// far compares the names of two services.
func (n *Name) far(o *Name) (int, bool) {
	total, ok := edits(n.Service, o.Service)
	if !ok {
		return 0, false
	}
	for _, part := range [][2]string{{n.Namespace, o.Namespace}, {n.Datacenter, o.Datacenter}, {n.Peer, o.Peer}} {
		if part[0] == part[1] || n.Form != o.Form {
			continue
		}
		total += min(1+distance(part[0], part[1], mostOfPart), mostOfPart+1)
	}
	if n.Subset != o.Subset {
		total += min(otherSubset+distance(n.Subset, o.Subset, mostOfPart), mostOfPart)
	}
	if n.Form != o.Form {
		total += otherForm
	} else if n.Domain != o.Domain {
		total += otherTrust
	}
	return total, true
}

// edits is how many there are between two words, and false if there are too many for
// the one to have been meant by the other: one in three letters, but three at most.
func edits(a, b string) (int, bool) {
	most := min(max(min(len(a), len(b))/3, 1), 3)
	d := distance(a, b, most)
	return d, d <= most
}

// distance is how many letters have to be inserted, left out, changed or swapped with
// the next one to make b of a, where no letter is touched twice (optimal string
// alignment); or most+1 when it is more than most. It costs by len(a)*most: only what
// lies so near to the diagonal of the table can count (Ukkonen 1985).
func distance(a, b string, most int) int {
	if a == b {
		return 0
	}
	if len(a)-len(b) > most || len(b)-len(a) > most {
		return most + 1
	}
	const longest = 253 // bytes of a name
	if len(a) > longest || len(b) > longest {
		return most + 1
	}
	var rows [3][longest + 1]int16
	two, last, row := &rows[0], &rows[1], &rows[2]
	for j := range len(b) + 1 {
		last[j] = int16(j)
	}
	beyond := int16(min(most, longest)) + 1
	lately := int16(0) // the least of the last row
	for i := 1; i <= len(a); i++ {
		from, to := max(1, i-most), min(len(b), i+most)
		row[from-1] = beyond
		if from == 1 {
			row[0] = int16(i)
		}
		least := row[from-1]
		for j := from; j <= to; j++ {
			d := last[j-1]
			if a[i-1] != b[j-1] {
				d++
			}
			d = min(d, row[j-1]+1)
			if j < i+most { // beyond, the last row has no figure
				d = min(d, last[j]+1)
			}
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, two[j-2]+1)
			}
			row[j] = d
			least = min(least, d)
		}
		if least >= beyond && lately >= beyond { // both, for a swap looks two rows back
			return most + 1
		}
		lately = least
		two, last, row = last, row, two
	}
	return min(int(last[len(b)]), most+1)
}
