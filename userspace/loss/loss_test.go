package loss

import (
	"bytes"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/userspace/route"
)

func TestServices(t *testing.T) {
	for _, test := range []struct {
		names string
		want  int
	}{
		{"", 0}, {"a.x", 1}, {"a.x b.x", 2}, {"a.x v1.a.x v2.a.x exported~a.x exported~v1.a.x", 1}, {"v1.a.x v2.a.x", 2},
		{"server.dc1.consul n1.server.dc1.consul", 1}, {"~ . .. a", 3},
	} {
		among := map[string]bool{}
		for _, name := range strings.Fields(test.names) {
			among[name] = true
		}
		if got := services(among, maps.Keys(among)); got != test.want {
			t.Errorf("%q: %d services, want %d", test.names, got, test.want)
		}
	}
}

// play is a guard with a table of some services and a clock of its own.
type play struct {
	*Guard
	t     *testing.T
	log   bytes.Buffer
	table *route.Table
	now   time.Time
}

const (
	settle = 5 * time.Second
	hold   = time.Minute
)

func newPlay(t *testing.T, names ...string) *play {
	p := &play{t: t, now: time.Now()}
	p.Guard = New("test", slog.New(slog.NewTextHandler(&p.log, nil)), settle, hold)
	b := route.NewBuilder(nil, "test")
	for _, name := range names {
		err := b.PutCluster(&route.Cluster{Name: name, Endpoints: []route.Endpoint{{Addrs: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:80")}}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	table, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	p.table = table
	return p
}

// leave has clusters be lost, and wants these of them to leave.
func (p *play) leave(lost string, want string) {
	p.t.Helper()
	got := p.Judge(p.table, strings.Fields(lost), p.now)
	slices.Sort(got)
	if s := strings.Join(got, " "); s != want {
		p.t.Errorf("of %q leave %q, want %q", lost, s, want)
	}
}

func TestOneLeavesAtOnce(t *testing.T) {
	p := newPlay(t, "a.x", "v1.a.x", "b.x", "c.x")
	p.Begin(true)
	p.Answered(p.now)
	p.leave("a.x v1.a.x", "a.x v1.a.x")
	if kept := p.Kept(); len(kept) > 0 {
		t.Errorf("kept %v", kept)
	}
}

// TestSubsetsLeaveAtOnce: a resolver that goes takes its subsets, which are no services.
func TestSubsetsLeaveAtOnce(t *testing.T) {
	p := newPlay(t, "a.x", "b.x", "v1.a.x", "v2.a.x", "v3.a.x", "exported~a.x")
	p.leave("v1.a.x v2.a.x v3.a.x exported~a.x", "exported~a.x v1.a.x v2.a.x v3.a.x")
}

func TestHalfIsHeld(t *testing.T) {
	p := newPlay(t, "a.x", "b.x", "c.x", "d.x")
	p.leave("a.x b.x", "")
	if !p.Keeps("a.x") || p.Keeps("c.x") || !p.Due().Equal(p.now.Add(hold)) {
		t.Errorf("kept %v until %v", p.Kept(), p.Due())
	}
	if !strings.Contains(p.log.String(), "test: Consul lost half") {
		t.Errorf("log:\n%s", &p.log)
	}
	p.now = p.now.Add(hold / 2)
	p.Returned("a.x", p.now)
	p.leave("b.x", "")
	p.now = p.now.Add(hold / 2)
	p.leave("b.x", "b.x")
}

// TestDatacenterIsHeld, be it the only one, and also when Consul was away.
func TestDatacenterIsHeld(t *testing.T) {
	for _, dc := range []string{"dc2.internal.x", "ap1.dc2.internal-v1.x", "server.dc2.consul"} {
		for _, away := range []bool{false, true} {
			p := newPlay(t, dc, "a.default.dc1.internal.x", "b.default.dc1.internal.x", "c.default.dc1.internal.x")
			if away {
				p.Begin(false)
				p.Answered(p.now)
				p.leave(dc, "")
				p.now = p.now.Add(settle)
			}
			p.leave(dc, "")
			if want := "no gateways of a datacenter"; !away && !strings.Contains(p.log.String(), want) {
				t.Errorf("the log does not say %q:\n%s", want, &p.log)
			}
			p.leave(dc+" a.default.dc1.internal.x", "a.default.dc1.internal.x")
			p.Returned(dc, p.now)
			p.leave("", "")
			p.leave(dc, "")
			p.now = p.Due()
			p.leave(dc, dc)
		}
	}
}

func TestAllAreHeld(t *testing.T) {
	p := newPlay(t, "a.x", "b.x")
	p.leave("a.x b.x", "")
	p.now = p.now.Add(100 * hold)
	p.leave("a.x b.x", "")
	if at := p.Due(); !at.IsZero() {
		t.Errorf("due %v", at)
	}
}

func TestAfterAway(t *testing.T) {
	p := newPlay(t, "a.x", "b.x", "c.x", "d.x", "e.x")
	p.Begin(false)
	p.leave("a.x", "") // not answered yet
	p.Answered(p.now)
	p.leave("a.x b.x", "")
	p.now = p.now.Add(settle / 2)
	p.Returned("b.x", p.now) // so there may be more to come
	p.now = p.now.Add(settle / 2)
	p.leave("a.x", "")
	p.now = p.now.Add(settle / 2)
	p.leave("a.x", "a.x")
}

// TestDoubt: while Consul tells less than there is, not even one service leaves.
func TestDoubt(t *testing.T) {
	p := newPlay(t, "a.x", "b.x", "c.x", "d.x")
	p.Begin(true)
	p.Answered(p.now)
	if p.Doubts(p.now) {
		t.Error("doubts at the beginning")
	}
	p.Doubt("no right", p.now)
	p.leave("a.x", "")
	if !strings.Contains(p.log.String(), `because="no right"`) || p.Doubts(p.now) {
		t.Errorf("looks again too early: %v, or log:\n%s", p.Doubts(p.now), &p.log)
	}
	p.now = p.Due()
	if !p.Doubts(p.now) {
		t.Error("does not look again")
	}
	p.Doubt("no right", p.now)
	p.leave("a.x b.x", "")
	p.now = p.Due()
	p.Returned("b.x", p.now.Add(-settle)) // in between
	p.leave("a.x", "a.x")
	if p.Doubts(p.now) {
		t.Error("still doubts")
	}
	p.leave("c.x", "c.x")
}
