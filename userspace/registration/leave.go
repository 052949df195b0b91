package registration

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/hashicorp/consul/api"
)

// MaintenanceReason is the reason that the agent is given for the maintenance mode
// of a gateway that drains. By it the next start knows that it may end it.
const MaintenanceReason = "sluice is draining"

// Maintenance ends Run, and has the agent tell everybody not to use this gateway any
// more. It tries again until the context is done. A service that the agent does not
// have is used by nobody, and is no error.
func (r *Registrar) Maintenance(ctx context.Context) error {
	id := r.serviceID()
	if id == "" {
		return nil
	}
	return r.lastly(ctx, "begin the maintenance of "+strconv.Quote(id), func(q *api.QueryOptions) error {
		return r.api.Agent().EnableServiceMaintenanceOpts(id, MaintenanceReason, q)
	})
}

// Deregister ends Run and deregisters the service if this process has registered it.
// It tries again until the context is done. That the agent does not have the service
// is no error.
func (r *Registrar) Deregister(ctx context.Context) error {
	r.leave()
	r.mu.Lock()
	id, registered := r.id, r.registered
	r.mu.Unlock()
	if registered == nil {
		return nil
	}
	return r.lastly(ctx, "deregister "+strconv.Quote(id), func(q *api.QueryOptions) error {
		return r.api.Agent().ServiceDeregisterOpts(id, q)
	})
}

// lastly makes a request of a gateway that leaves, after the one that may be under
// way, until the agent does it, refuses to, or the context is done.
func (r *Registrar) lastly(ctx context.Context, what string, do func(*api.QueryOptions) error) error {
	r.leave()
	select {
	case <-ctx.Done():
		return fmt.Errorf("%s: the request before it is still under way: %w", what, context.Cause(ctx))
	case r.writing <- struct{}{}:
	}
	defer func() { <-r.writing }()
	var answered error // what the agent said last, which tells more than that the time is over
	for turn := 0; ; turn++ {
		q, cancel := r.bounded(ctx, 0)
		err := do(q)
		if err != nil {
			err = failed(what, err)
		}
		cancel()
		switch {
		case err == nil, isUnknown(err):
			return nil
		case code(err) == http.StatusForbidden:
			return r.explained(err)
		case ctx.Err() == nil:
			answered = err
		}
		sleep(ctx, backoff(r.times.retry, r.times.retryMost, turn))
		if ctx.Err() != nil {
			return r.explained(cmp.Or(answered, err))
		}
	}
}

// endMaintenance ends the maintenance mode that an earlier process began and did not
// live to end.
func (r *Registrar) endMaintenance(ctx context.Context) error {
	q, cancel := r.bounded(ctx, 0)
	defer cancel()
	id := r.serviceID()
	check := "_service_maintenance:" + id // serviceMaintCheckID in Consul's agent/agent.go
	found, err := r.api.Agent().ChecksWithFilterOpts("CheckID == "+strconv.Quote(check), q)
	if err != nil {
		return failed("look whether the gateway is in maintenance", err)
	}
	m := found[check]
	switch {
	case m == nil:
		return nil
	case m.Notes != MaintenanceReason:
		r.log.Warn("an operator has put the gateway in maintenance: nobody uses it until that is ended",
			"service", id, "reason", m.Notes, "end", "consul maint -disable -service="+id)
		return nil
	}
	err = r.write(ctx, func(q *api.QueryOptions) error {
		return r.api.Agent().DisableServiceMaintenanceOpts(id, q)
	})
	if err != nil {
		return fmt.Errorf("end the maintenance of %q: %w", id, err)
	}
	r.log.Info("ended the maintenance mode that an earlier process left behind", "service", id)
	return nil
}
