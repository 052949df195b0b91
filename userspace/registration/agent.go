package registration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
)

// facts are what the agent says of itself.
type facts struct {
	Datacenter string
	NodeName   string
	BindAddr   string
	Version    string
}

// dualStack is what Consul calls an agent that is bound to an IPv6 address
// (agent/netutil).
func (f facts) dualStack() bool {
	ip, err := netip.ParseAddr(f.BindAddr)
	return err == nil && !ip.Unmap().Is4()
}

// bounded is a context for one request, with so long in addition to the usual time.
func (r *Registrar) bounded(ctx context.Context, more time.Duration) (*api.QueryOptions, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, r.times.request+more)
	return (&api.QueryOptions{}).WithContext(ctx), cancel
}

// errHangs is that the agent did not answer in time.
var errHangs = errors.New("no answer in time")

// self asks the agent about itself. A token may not be allowed to; then little is
// lost.
func (r *Registrar) self(ctx context.Context) (facts, error) {
	q, cancel := r.bounded(ctx, 0)
	defer cancel()
	var answer struct{ Config facts }
	_, err := r.api.Raw().Query("/v1/agent/self", &answer, q)
	if code(err) == http.StatusForbidden && !isNoToken(err) {
		r.log.Info("the agent does not say which node and version it is", "err", briefly(err), "probably", "the token lacks agent:read for the agent's node")
		return facts{}, nil
	}
	if err != nil {
		return facts{}, failed("read agent/self", err)
	}
	if answer.Config.Datacenter == "" {
		return facts{}, errors.New("read agent/self: the answer has no datacenter")
	}
	return answer.Config, nil
}

// read asks for the service, and with the hash of an earlier answer waits for one
// that is different, or until some time has passed.
func (r *Registrar) read(ctx context.Context, hash string) (*api.AgentService, string, error) {
	var more time.Duration
	if hash != "" {
		more = r.times.wait + r.times.wait/16 // which the agent adds for jitter
	}
	q, cancel := r.bounded(ctx, more)
	defer cancel()
	q.WaitHash, q.WaitTime = hash, r.times.wait
	id := r.serviceID()
	service, meta, err := r.api.Agent().Service(id, q)
	if err != nil {
		return nil, "", failed("read the service "+strconv.Quote(id), err)
	}
	if service == nil || service.ID != id {
		return nil, "", fmt.Errorf("read the service %q: the answer is not about it", id)
	}
	return service, meta.LastContentHash, nil
}

// Renew registers the service again, as it is for a token that is another one than
// before: with the one that the service was registered with the agent keeps it in the
// catalog, and reads what it tells the gateway by xDS. It does nothing unless this
// process has registered the service.
func (r *Registrar) Renew(ctx context.Context) error {
	r.mu.Lock()
	d := r.registered
	r.mu.Unlock()
	if d == nil {
		return nil
	}
	return r.register(ctx, d)
}

// register tells the agent of the service.
func (r *Registrar) register(ctx context.Context, d *api.AgentServiceRegistration) error {
	err := r.write(ctx, func(q *api.QueryOptions) error {
		err := r.api.Agent().ServiceRegisterOpts(d, api.ServiceRegisterOpts{}.WithContext(q.Context()))
		if code(err) == 0 { // it did, or may have
			r.mu.Lock()
			r.registered = d
			r.mu.Unlock()
		}
		return err
	})
	if err == nil {
		return nil
	}
	err = fmt.Errorf("register the service %q: %w", d.ID, err)
	if code(err) == http.StatusBadRequest {
		return &final{err}
	}
	return err
}

// write makes a request that changes what the agent has, one at a time, and none
// once the gateway is leaving. It is not broken off: the agent might do it
// nevertheless, after what comes next.
func (r *Registrar) write(ctx context.Context, do func(*api.QueryOptions) error) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case r.writing <- struct{}{}:
	}
	defer func() { <-r.writing }()
	if r.leaving.Err() != nil {
		return ErrLeaving
	}
	q, cancel := r.bounded(context.WithoutCancel(ctx), 0)
	defer cancel()
	if err := do(q); err != nil {
		return failed("", err)
	}
	return nil
}

// find looks for the mesh gateway of this agent.
func (r *Registrar) find(ctx context.Context) error {
	q, cancel := r.bounded(ctx, 0)
	defer cancel()
	filter := `Kind == "mesh-gateway"`
	if r.settings.Service != "" {
		filter += " and Service == " + strconv.Quote(r.settings.Service)
	}
	found, err := r.api.Agent().ServicesWithFilterOpts(filter, q)
	if err != nil {
		return failed("look for the agent's mesh gateways", err)
	}
	ids := slices.Sorted(maps.Keys(found))
	switch len(ids) {
	case 0:
		return fmt.Errorf("%w: no mesh gateway%s", errAbsent, named(r.settings.Service))
	case 1:
		r.mu.Lock()
		defer r.mu.Unlock()
		r.id = ids[0]
		return nil
	}
	return &final{fmt.Errorf("the agent has several mesh gateways%s: give -proxy-id, one of %s",
		named(r.settings.Service), strings.Join(ids, ", "))}
}

func named(service string) string {
	if service == "" {
		return ""
	}
	return fmt.Sprintf(" with the name %q", service)
}

// config is the part of the service's proxy.config that counts: all of it, or with
// Settings.NoCentralConfig what is the definition's own.
func (r *Registrar) config(ctx context.Context, service *api.AgentService) (map[string]any, error) {
	var merged map[string]any
	if service.Proxy != nil {
		merged = service.Proxy.Config
	}
	switch {
	case !r.settings.NoCentralConfig:
		return merged, nil
	case r.settings.Register:
		return plain(r.settings.binding()), nil
	}
	q, cancel := r.bounded(ctx, 0)
	defer cancel()
	entry, _, err := r.api.ConfigEntries().Get(api.ProxyDefaults, api.ProxyConfigGlobal, q)
	if code(err) == http.StatusNotFound {
		return merged, r.settled(0)
	}
	if err != nil {
		return nil, failed("read proxy-defaults", err)
	}
	defaults, ok := entry.(*api.ProxyConfigEntry)
	if !ok {
		return nil, fmt.Errorf("read proxy-defaults: the answer is about %s", entry.GetKind())
	}
	own := maps.Clone(merged)
	central := plain(defaults.Config)
	maps.DeleteFunc(own, func(name string, value any) bool {
		other, ok := central[name]
		return ok && reflect.DeepEqual(plain(map[string]any{"": value}), map[string]any{"": other})
	})
	return own, r.settled(defaults.ModifyIndex)
}

// errUnsettled is that proxy-defaults have changed: the agent may have merged what they
// were before, which then looks like the definition's own.
var errUnsettled = errors.New("proxy-defaults have just changed")

// settled is errUnsettled when proxy-defaults, by their index, are others than at the
// last look.
func (r *Registrar) settled(index uint64) error {
	w := &r.watch
	before := w.defaults
	w.defaults = index
	if w.last != nil && index != before {
		return errUnsettled
	}
	return nil
}

// failed adds to a request's error what was being done, "" for what the caller adds,
// and makes it one that can be told from others.
func failed(what string, err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: %w", errHangs, err)
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		err = fmt.Errorf("the answer is no JSON: %w", err)
	}
	if what == "" {
		return err
	}
	return fmt.Errorf("%s: %w", what, err)
}
