package xds

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"sluice/userspace/route"
)

// losses decides when clusters that the agent no longer has may leave the table;
// the package comment has the rules.
type losses struct {
	log          *slog.Logger
	settle, hold time.Duration

	kept     map[string]keeping // clusters that are lost, and still in the table
	all      bool               // so many that none of them leaves
	told     string             // the reason for it that was logged last
	settling bool               // the stream is too young to be believed
	settled  time.Time          // when it will be believed; zero before its first answers
}

// keeping is why and since when a lost cluster is kept.
type keeping struct {
	since time.Time
	mass  bool // it was lost together with too many others
}

func newLosses(log *slog.Logger, times timing) losses {
	return losses{log: log, settle: times.settle, hold: times.hold, kept: map[string]keeping{}}
}

// begin is called with each new stream. The first one of all has nothing to be
// held against.
func (l *losses) begin(first bool) {
	l.settling, l.settled = !first, time.Time{}
}

// answered is called when a stream has given its first answers.
func (l *losses) answered(now time.Time) { l.settled = now.Add(l.settle) }

// returned notes that a cluster has endpoints, or never had any to lose.
func (l *losses) returned(name string, now time.Time) {
	if _, was := l.kept[name]; !was {
		return
	}
	delete(l.kept, name)
	if l.settling && !l.settled.IsZero() {
		l.settled = now.Add(l.settle)
	}
}

// judge tells which of the lost clusters may leave the table now, and keeps the
// others. The names are all that are lost, those that are kept already included.
func (l *losses) judge(t *route.Table, lost []string, now time.Time) (leave []string) {
	if l.settling && !l.settled.IsZero() && !now.Before(l.settled) {
		l.settling = false
	}
	if len(lost) == 0 {
		l.all, l.told = false, ""
		return nil
	}
	mass, all := extent(t, lost)
	again := all || l.all // the time to be kept begins when there is something to compare with
	l.all = all
	released := 0
	for _, name := range lost {
		k, known := l.kept[name]
		if !known || again {
			k.since = now
		}
		k.mass = k.mass || mass && !l.settling
		if l.settling || k.mass && (all || now.Sub(k.since) < l.hold) {
			l.kept[name] = k
			continue
		}
		if known {
			released++
		}
		delete(l.kept, name)
		leave = append(leave, name)
	}
	if released > 0 {
		l.log.Warn("xds: clusters that were kept leave the table, for the agent still does not have them", "clusters", released)
	}
	l.tell(mass)
	return leave
}

// tell logs what is kept, when the reason for it is another one than before.
func (l *losses) tell(mass bool) {
	const cause = "have the servers lost their state, or the gateway's token its service:read?"
	why := ""
	switch {
	case len(l.kept) == 0:
	case l.settling:
		why = "settling"
	case l.all:
		why = "all"
	case mass:
		why = "mass"
	default:
		return // fewer than before, of those that were told
	}
	if why == l.told {
		return
	}
	l.told = why
	kept := slices.Sorted(maps.Keys(l.kept))
	log := l.log.With("clusters", len(kept), "first", kept[:min(len(kept), 5)])
	switch why {
	case "settling":
		log.Info("xds: a new stream lacks clusters of the table: kept until it has settled", "settles_in", l.settle)
	case "all":
		log.Error("xds: the agent has no service any more: all of the table is kept", "probably", cause)
	case "mass":
		log.Warn("xds: the agent lost half of the services or more at once: kept for a while", "for", l.hold, "probably", cause)
	}
}

// due is when kept clusters are to be judged again, and zero for never.
func (l *losses) due() time.Time {
	var at time.Time
	for _, k := range l.kept {
		switch {
		case l.settling:
			return l.settled
		case k.mass && !l.all:
			at = earlier(at, k.since.Add(l.hold))
		}
	}
	return at
}

// extent tells whether the lost clusters are at least two services and half of
// those with endpoints in the table, and whether they are all.
func extent(t *route.Table, lost []string) (mass, all bool) {
	gone := services(lost)
	if gone < 2 {
		return false, false
	}
	var names []string
	for c := range t.Clusters() {
		if len(c.Endpoints) > 0 {
			names = append(names, c.Name)
		}
	}
	total := services(names)
	return 2*gone >= total, gone >= total
}

// services counts the clusters that are not a part of another one among them, as
// "v1.web.default.dc1.internal.x" and "exported~web.default.dc1.internal.x" are of
// "web.default.dc1.internal.x".
func services(names []string) int {
	among := make(map[string]bool, len(names))
	for _, name := range names {
		among[name] = true
	}
	n := 0
	for _, name := range names {
		if !partOf(among, name) {
			n++
		}
	}
	return n
}

func partOf(among map[string]bool, name string) bool {
	for {
		i := strings.IndexAny(name, ".~")
		if i < 0 {
			return false
		}
		if name = name[i+1:]; among[name] {
			return true
		}
	}
}
