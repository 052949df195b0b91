package consul

import (
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/hashicorp/consul/api"
)

// How Consul stands: which queries fail, and which answers do not count as they are.

// failure is why a query failed, and whether the log has it.
type failure struct {
	err  error
	told bool
}

// refused tells whether Consul answered that there is nothing for this token, or that
// it does not know the question: it may be older, or a part of it switched off.
func refused(err error) bool {
	code := statusOf(err)
	return code == http.StatusForbidden || code == http.StatusNotFound
}

// failed notes that a query failed.
func (r *running) failed(f fact, err error) {
	was, again := r.failing[f]
	// While Consul is away, one line is enough for all queries.
	told := !r.away || again && was.told
	if told && (!again || was.err.Error() != err.Error()) {
		r.Log.Warn("consul: query failed", "of", f, "err", err, "probably", advice(f, err))
	}
	r.failing[f] = failure{err, told}
	if r.away || !r.matters(f, err) {
		return
	}
	r.away = true
	r.compiler.loss.Begin(r.compiler.table == nil)
	r.update(func(s *Status) {
		if s.Connected {
			s.Connected, s.Since = false, time.Now()
		}
		s.Err = named(f, err)
	})
}

// matters tells whether Consul is away when this query fails. What was never answered,
// such as peerings where they are switched off, has nothing that could be out of date.
func (r *running) matters(f fact, err error) bool {
	_, answered := r.filtered[f]
	return f.essential() || answered && !f.remote() && !refused(err)
}

// succeeded notes that a query was answered.
func (r *running) succeeded(a answer, now time.Time) {
	if was, failed := r.failing[a.fact]; failed {
		delete(r.failing, a.fact)
		if was.told {
			r.Log.Info("consul: query is answered again", "of", a.fact)
		}
	}
	if a.reset {
		if now.Sub(r.resetAt) > r.times.settle {
			r.Log.Warn("consul: index went backwards: were the servers restored?", "of", a.fact)
		}
		r.resetAt = now
		r.compiler.loss.Begin(false)
	}
	for other, failure := range r.failing {
		if r.matters(other, failure.err) {
			return
		}
	}
	if a.reset || r.away || !r.Status().Connected {
		r.compiler.loss.Answered(now)
	}
	if r.away || !r.Status().Connected {
		r.away = false
		r.update(func(s *Status) { s.Connected, s.Since, s.Err = true, now, nil })
	}
}

// forget is for facts that are not asked for any more.
func (r *running) forget(f fact) {
	delete(r.failing, f)
	delete(r.filtered, f)
	delete(r.hidden, f)
}

// believe makes of an answer what counts of it. One that the token's rights shortened,
// and had not before, takes nothing away.
func (r *running) believe(a answer) (value any, counts bool) {
	was, answered := r.filtered[a.fact]
	if a.filtered && answered && !was {
		if len(r.hidden) == 0 {
			r.Log.Warn("consul: the token lost rights: what is missing in the answers stays as it was", "of", a.fact, "probably", "it lacks "+right(a.kind))
		}
		r.hidden[a.fact] = struct{}{}
		return r.compiler.with(a.fact, a.value)
	}
	if lacks := right(a.kind); a.filtered && !answered && !r.told[lacks] {
		r.told[lacks] = true
		r.Log.Warn("consul: the token does not see all there is: what it may not read is as if it were not there", "of", a.fact, "probably", "it lacks "+lacks)
	}
	if _, was := r.hidden[a.fact]; was {
		delete(r.hidden, a.fact)
		if len(r.hidden) == 0 {
			r.Log.Info("consul: the token has its rights again")
		}
	}
	r.filtered[a.fact] = a.filtered
	return a.value, true
}

// with adds what is known to an answer that is too short. A service whose instances
// are gone leaves by the answer about these.
func (v *view) with(f fact, value any) (any, bool) {
	switch f.kind {
	case aboutNames:
		all := maps.Clone(value.(map[string]struct{}))
		for name, instances := range v.instances {
			if len(instances) > 0 {
				all[name] = struct{}{}
			}
		}
		return all, true
	case aboutInstances:
		return union(value.([]*api.ServiceEntry), v.instances[f.name]), true
	default:
		return nil, false
	}
}

// union is all instances, the first ones as they are there.
func union(now, was []*api.ServiceEntry) []*api.ServiceEntry {
	type id struct{ node, service string }
	all := slices.Clone(now)
	there := make(map[id]bool, len(now))
	for _, i := range now {
		there[id{i.Node.Node, i.Service.ID}] = true
	}
	for _, i := range was {
		if !there[id{i.Node.Node, i.Service.ID}] {
			all = append(all, i)
		}
	}
	return all
}
