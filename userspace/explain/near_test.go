package explain

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/userspace/route"
)

// slow is the distance by the textbook, over the whole table.
func slow(a, b string) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "ab", 2}, {"web", "web", 0}, {"wbe", "web", 1}, {"web", "wbe", 1}, {"web", "weeb", 1},
		{"web", "we", 1}, {"payments", "paymnets", 1}, {"ca", "abc", 3}, {"kitten", "sitting", 3},
	} {
		if got := distance(c.a, c.b, 5); got != c.want {
			t.Errorf("%q to %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
	if got := distance(strings.Repeat("a", 300), strings.Repeat("b", 300), 9); got != 10 {
		t.Errorf("longer than a name can be: %d", got)
	}
}

// TestDistanceAtRandom holds the narrow way to the wide one.
func TestDistanceAtRandom(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	word := func() string {
		b := make([]byte, random.IntN(9))
		for i := range b {
			b[i] = "abc"[random.IntN(3)]
		}
		return string(b)
	}
	for range 50000 {
		a, b, most := word(), word(), random.IntN(9)
		if got, want := distance(a, b, most), min(slow(a, b), most+1); got != want {
			t.Fatalf("%q to %q, %d at most: %d, want %d", a, b, most, got, want)
		}
	}
}

func FuzzDistance(f *testing.F) {
	f.Add("web", "wbe", 2)
	f.Add("", "abcdef", 3)
	f.Fuzz(func(t *testing.T, a, b string, most int) {
		a, b, most = a[:min(len(a), 30)], b[:min(len(b), 30)], min(max(most, 0), 40)
		if got, want := distance(a, b, most), min(slow(a, b), most+1); got != want {
			t.Fatalf("%q to %q, %d at most: %d, want %d", a, b, most, got, want)
		}
	})
}

func TestNear(t *testing.T) {
	f := usual(t)
	put(t, f, &route.Route{Name: internal("payments"), Cluster: "web"})
	put(t, f, &route.Route{Name: internal("payment-api"), Cluster: "web"})
	for asked, want := range map[string][]string{
		"paymnets":          {internal("payments")},
		"payment":           {internal("payments")},
		"payments.team":     {internal("payments")}, // of another namespace
		"apy":               {internal("api"), "pay.default.default.home.external." + peerTD},
		"ap.example.net":    nil,
		"b.two.example.net": {"a.two.example.net"},
		"frontend":          nil,
		"v1.webb":           {"v1." + internal("web"), "v2." + internal("web"), internal("web"), "web.default.default.cloud.external." + td},
		"web.default.dd2.internal." + td: {
			"web.default.dc2.internal." + td, "web.default.dc3.internal." + td, internal("web"),
			"web.default.default.cloud.external." + td, "v1." + internal("web"),
		},
		"web.default.dc1.interal." + td: {internal("web"), internal("db")},
		"srv1.server.dc1.consu":         {"srv1.server.dc1.consul"},
	} {
		var got []string
		for _, n := range Explain(f, asked).Near {
			got = append(got, n.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: near are\n%s\nwant\n%s", asked, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// large is a table of many services, with two routes each.
func large(t testing.TB, routes int) *route.Table {
	rs := make([]*route.Route, 0, routes)
	cs := make([]*route.Cluster, 0, routes/2)
	endpoints := mesh(t, nil).Cluster("web").Endpoints
	for i := range routes / 2 {
		name := fmt.Sprintf("service-%05d.default.dc1.internal.%s", i, td)
		cs = append(cs, &route.Cluster{Name: name, Endpoints: endpoints})
		rs = append(rs, &route.Route{Name: name, Cluster: name},
			&route.Route{Name: fmt.Sprintf("service-%05d.default.default.cloud.external.%s", i, td), Cluster: name})
	}
	return replace(t, rs, cs)
}

// TestExplainMany holds the bound on what an explanation costs with 100,000 routes, with
// much room for a slow machine.
func TestExplainMany(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a table of 100,000 routes")
	}
	f := &Facts{Table: large(t, 100_000)}
	for _, asked := range []string{"service-4x123", "service-00001.default.dc5", "nothing-alike.example.com", "service-0012"} {
		start := time.Now()
		e := Explain(f, asked)
		took := time.Since(start)
		t.Logf("%s: %v, %d near", asked, took, len(e.Near))
		if e.Refusal == nil {
			t.Errorf("%s is served", asked)
		}
		if took > 5*time.Second {
			t.Errorf("%s: took %v", asked, took)
		}
	}
}

func BenchmarkExplain(b *testing.B) {
	f := &Facts{Table: large(b, 100_000)}
	for b.Loop() {
		Explain(f, "service-4x123")
	}
}
