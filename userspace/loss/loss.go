// Package loss decides when clusters that a source does not see any more may leave
// the table.
//
// Consul says in the same words that a service was deregistered, and that an agent
// has just restarted and has not asked the servers yet, or that the servers lost
// their state, or that a token lost its right to see services. Nothing in its
// answers tells them apart for sure, so a Guard goes by when and how much:
//
//   - While Consul answers as it did, a service that leaves does so at once, and so
//     do several that are fewer than half.
//   - After it was away (Begin), it is believed again a few seconds (Settle) after
//     its first answers (Answered), and as long after the last time that something
//     missing came back (Returned). What leaves before is kept until then. A
//     restarted agent answers in parts, and the rest follows within a second or so.
//     The first answers of all have no table to lose and are believed.
//   - While the source knows that Consul tells less than there is (Doubt), for the
//     token lost a right, nothing that is missing leaves.
//   - Half of all services at once, and at least two, are not one that was
//     deregistered. They are kept until they come back or Hold is over. All services
//     at once are kept until some service is there again.
//   - The way to another datacenter is kept as long as half of all services. A server
//     that has just started knows of its own datacenter alone, and agents ask it for the
//     list every half a minute only.
//
// A service has left when its cluster is gone or has no endpoint any more; its
// subsets count with it. Where some endpoints of a cluster remain, those are the
// truth. What is kept is as it was, health included. A flow that goes to an address
// that someone else has now cannot reach the wrong service: its client checks the
// certificate.
package loss

import (
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"sluice/userspace/route"
)

// Guard knows which lost clusters are kept, by the rules of the package comment. It
// is for one goroutine at a time.
type Guard struct {
	Settle time.Duration // how long Consul is not believed what is missing, after it was away
	Hold   time.Duration // how long half of the table stays after it was lost

	source string // for the log
	log    *slog.Logger

	kept     map[string]keeping // clusters that are lost, and still in the table
	all      bool               // so many that none of them leaves
	told     string             // the reason for it that was logged last
	settling bool               // Consul is not believed yet
	settled  time.Time          // when it will be; zero before its first answers
	doubt    string             // why the source does not believe it; "": it does
}

// keeping is why and since when a lost cluster is kept.
type keeping struct {
	since time.Time
	mass  bool // it was lost together with too many others, or is a whole datacenter
}

// New returns a guard that keeps nothing yet and believes what it is told. The
// source's name begins its log lines.
func New(source string, log *slog.Logger, settle, hold time.Duration) *Guard {
	return &Guard{Settle: settle, Hold: hold, source: source, log: log, kept: map[string]keeping{}}
}

// Begin is called when Consul begins to answer, for the first time or after it was
// away. The first time of all has nothing to be held against.
func (l *Guard) Begin(first bool) {
	l.settling, l.settled = !first, time.Time{}
}

// Answered is called when Consul has given its first answers since Begin.
func (l *Guard) Answered(now time.Time) { l.settled = now.Add(l.Settle) }

// Doubt is called when there is reason not to believe Consul what is missing, such as
// rights that the token lost. It is kept, and after Settle the reason is to be looked
// for again: see Doubts.
func (l *Guard) Doubt(why string, now time.Time) {
	l.settling, l.settled, l.doubt = true, now.Add(l.Settle), why
}

// Doubts tells whether clusters are kept for a doubt that is to be looked at again.
func (l *Guard) Doubts(now time.Time) bool {
	return l.doubt != "" && len(l.kept) > 0 && !now.Before(l.settled)
}

// Returned notes that a cluster has endpoints, or never had any to lose.
func (l *Guard) Returned(name string, now time.Time) {
	if _, was := l.kept[name]; !was {
		return
	}
	delete(l.kept, name)
	if l.settling && !l.settled.IsZero() {
		l.settled = now.Add(l.Settle)
	}
}

// Judge tells which of the lost clusters may leave the table now, and keeps the
// others. The names are all that are lost, those that are kept already included.
func (l *Guard) Judge(t *route.Table, lost []string, now time.Time) (leave []string) {
	if l.settling && !l.settled.IsZero() && !now.Before(l.settled) {
		l.settling, l.doubt = false, ""
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
		k.mass = k.mass || mass && !l.settling || leadsAway(name)
		if l.settling || k.mass && (all || now.Sub(k.since) < l.Hold) {
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
		l.log.Warn(l.source+": clusters that were kept leave the table, for Consul still does not have them", "clusters", released)
	}
	l.tell(mass)
	return leave
}

// tell logs what is kept, when the reason for it is another one than before.
func (l *Guard) tell(mass bool) {
	const cause = "have the servers lost their state, or the gateway's token its service:read?"
	why := ""
	switch {
	case len(l.kept) == 0:
	case l.doubt != "":
		why = "doubt"
	case l.settling:
		why = "settling"
	case l.all:
		why = "all"
	case mass:
		why = "mass"
	case l.told == "" && slices.ContainsFunc(l.Kept(), leadsAway):
		why = "datacenter"
	default:
		return // fewer than before, of those that were told
	}
	if why == l.told {
		return
	}
	l.told = why
	kept := l.Kept()
	log := l.log.With("clusters", len(kept), "first", kept[:min(len(kept), 5)])
	switch why {
	case "doubt":
		log.Warn(l.source+": Consul is not believed that clusters of the table are gone: kept", "because", l.doubt)
	case "settling":
		log.Info(l.source+": Consul, back after it was away, lacks clusters of the table: kept until it has settled", "settles_in", l.Settle)
	case "all":
		log.Error(l.source+": Consul has no service any more: all of the table is kept", "probably", cause)
	case "datacenter":
		log.Warn(l.source+": Consul has no gateways of a datacenter any more: kept for a while", "for", l.Hold, "probably", "servers have just started, and the datacenters yet to find each other")
	case "mass":
		log.Warn(l.source+": Consul lost half of the services or more at once: kept for a while", "for", l.Hold, "probably", cause)
	}
}

// Due is when kept clusters are to be judged again, and zero for never.
func (l *Guard) Due() time.Time {
	var at time.Time
	for _, k := range l.kept {
		switch {
		case l.settling:
			return l.settled
		case k.mass && !l.all:
			if end := k.since.Add(l.Hold); at.IsZero() || end.Before(at) {
				at = end
			}
		}
	}
	return at
}

// extent tells whether the lost clusters are at least two services and half of
// those with endpoints in the table, and whether they are all.
func extent(t *route.Table, lost []string) (mass, all bool) {
	among := make(map[string]bool, len(lost))
	for _, name := range lost {
		among[name] = true
	}
	if services(among, slices.Values(lost)) < 2 {
		return false, false // as it mostly is, without a look at the whole table
	}
	for c := range t.Clusters() {
		if len(c.Endpoints) > 0 {
			among[c.Name] = true
		}
	}
	gone, total := services(among, slices.Values(lost)), services(among, maps.Keys(among))
	here := services(among, func(yield func(string) bool) { // datacenters are kept anyway
		for _, name := range lost {
			if !leadsAway(name) && !yield(name) {
				return
			}
		}
	})
	return here >= 2 && 2*here >= total, gone >= 2 && gone >= total
}

// leadsAway tells whether the cluster is of the gateways of a datacenter, such as
// "dc2.internal.x", or of its servers, "server.dc2.consul".
func leadsAway(name string) bool {
	where, _, internal := strings.Cut(name, ".internal") // with a partition "ap1.dc2.internal-v1.x"
	if !internal {
		return strings.HasPrefix(name, "server.")
	}
	return strings.Count(where, ".") <= 1
}

// services counts the clusters that are not a part of another one among all, as
// "v1.web.default.dc1.internal.x" and "exported~web.default.dc1.internal.x" are of
// "web.default.dc1.internal.x".
func services(among map[string]bool, names iter.Seq[string]) int {
	n := 0
	for name := range names {
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

// Keeps tells whether the cluster is kept.
func (l *Guard) Keeps(name string) bool {
	_, kept := l.kept[name]
	return kept
}

// Kept lists the clusters that are kept, by name.
func (l *Guard) Kept() []string { return slices.Sorted(maps.Keys(l.kept)) }
