package modes

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"
)

// parallel is how many requests are under way at one time.
const parallel = 8

// Read asks an agent for the modes of all sidecars of its datacenter, or of those of
// one service. It makes a request for each name that sidecars are registered
// under, for each upstream's discovery chain and for each set of addresses that they
// lead to, beside some ten others; never the same one twice. What other
// datacenters do not answer is a warning, what this one does not is an error.
func Read(ctx context.Context, client *api.Client, service string) (*Report, error) {
	r := &reader{client: client, chains: map[chainKey][]target{}, pools: map[source]*pool{}}
	if err := r.basics(ctx, service); err != nil {
		return nil, err
	}
	if service != "" && len(r.sidecars) == 0 {
		return nil, fmt.Errorf("service %q has no sidecar in this datacenter, or the token lacks service:read on it or node:read on its nodes", service)
	}
	wishes := r.explicit()
	if err := r.fetchChains(ctx, wishes); err != nil {
		return nil, err
	}
	implicit, err := r.implicit(ctx)
	if err != nil {
		return nil, err
	}
	report := r.report(append(wishes, implicit...))
	if err := r.fetchPools(ctx, report); err != nil {
		return nil, err
	}
	r.warn(ctx, report)
	return report, nil
}

// reader gathers what was read.
type reader struct {
	client      *api.Client
	here        string // the datacenter, "" if there is nothing in it to tell of
	sidecars    []sidecar
	entries     entries
	datacenters []string
	peers       []*api.Peering
	peersErr    error // why peers are not known

	hidden atomic.Bool // Consul kept something back

	mutex  sync.Mutex
	chains map[chainKey][]target
	pools  map[source]*pool
}

// sidecar is one as the catalog has it.
type sidecar struct {
	id    string // NODE/ID
	owner serviceName
	proxy *api.AgentServiceConnectProxyConfig
	*defaults
}

// isTransparent tells whether the sidecar takes all that its service calls.
func (s *sidecar) isTransparent() bool {
	if s.proxy.Mode != api.ProxyModeDefault {
		return s.proxy.Mode == api.ProxyModeTransparent
	}
	return s.transparent
}

// query are the options of every request.
func query(ctx context.Context) *api.QueryOptions {
	return (&api.QueryOptions{AllowStale: true}).WithContext(ctx)
}

// failed says what could not be read, and which right would help.
func failed(what, right string, err error) error {
	var status api.StatusError
	if errors.As(err, &status) && status.Code == http.StatusForbidden {
		return fmt.Errorf("read %s: the token lacks %s: %w", what, right, err)
	}
	return fmt.Errorf("read %s: %w", what, err)
}

// note remembers that an answer was not whole.
func (r *reader) note(meta *api.QueryMeta) {
	if meta != nil && meta.ResultsFilteredByACLs {
		r.hidden.Store(true)
	}
}

// each calls fn for every item, a few at a time, and returns the first error, after
// which no more are begun.
func each[T any](ctx context.Context, items []T, fn func(context.Context, T) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var once sync.Once
	var first error
	free := make(chan struct{}, parallel)
	for _, item := range items {
		free <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-free }()
			if err := fn(ctx, item); err != nil {
				once.Do(func() { first = err })
				cancel()
			}
		})
	}
	wg.Wait()
	if first == nil {
		return ctx.Err()
	}
	return first
}

// basics reads what everything else follows from.
func (r *reader) basics(ctx context.Context, service string) error {
	err := each(ctx, []func(context.Context) error{
		r.readProxyDefaults, r.readServiceDefaults, r.readDatacenters, r.readPeers,
		func(ctx context.Context) error { return r.readSidecars(ctx, service) },
	}, func(ctx context.Context, read func(context.Context) error) error { return read(ctx) })
	if err != nil {
		return err
	}
	byOwner := map[serviceName]*defaults{}
	for i := range r.sidecars {
		s := &r.sidecars[i]
		if byOwner[s.owner] == nil {
			byOwner[s.owner] = r.entries.of(s.owner)
		}
		s.defaults = byOwner[s.owner]
	}
	return nil
}

func (r *reader) readProxyDefaults(ctx context.Context) error {
	entry, _, err := r.client.ConfigEntries().Get(api.ProxyDefaults, api.ProxyConfigGlobal, query(ctx))
	var status api.StatusError
	if errors.As(err, &status) && status.Code == http.StatusNotFound {
		return nil
	}
	if err != nil {
		return failed("proxy-defaults", "a valid secret", err)
	}
	r.entries.proxy, _ = entry.(*api.ProxyConfigEntry)
	return nil
}

func (r *reader) readServiceDefaults(ctx context.Context) error {
	list, meta, err := r.client.ConfigEntries().List(api.ServiceDefaults, query(ctx))
	if err != nil {
		return failed("service-defaults", "service:read", err)
	}
	r.note(meta)
	r.entries.services = make(map[serviceName]*api.ServiceConfigEntry, len(list))
	for _, entry := range list {
		if s, ok := entry.(*api.ServiceConfigEntry); ok {
			r.entries.services[serviceName{s.Name, namespace(s.Namespace, "")}] = s
		}
	}
	return nil
}

func (r *reader) readDatacenters(ctx context.Context) error {
	// Catalog().Datacenters takes no context.
	if _, err := r.client.Raw().Query("/v1/catalog/datacenters", &r.datacenters, query(ctx)); err != nil {
		return failed("the names of datacenters", "a valid secret", err)
	}
	return nil
}

// peersTime is how long the list of peers is waited for. It takes milliseconds; but an
// agent takes 12 s (measured, 1.22.2: it tries again) to say that the token may not
// have it.
const peersTime = 2 * time.Second

// readPeers may fail: only warnings and some implicit upstreams depend on it.
func (r *reader) readPeers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, peersTime)
	defer cancel()
	r.peers, _, r.peersErr = r.client.Peerings().List(ctx, query(ctx))
	return nil
}

// kindFilter selects services of a kind in lists of names, where the field is
// "ServiceKind".
func kindFilter(field string, kind api.ServiceKind) string {
	return fmt.Sprintf("%s == %q", field, kind)
}

func (r *reader) readSidecars(ctx context.Context, service string) error {
	if service != "" {
		q := query(ctx)
		q.Filter = kindFilter("ServiceKind", api.ServiceKindConnectProxy)
		list, meta, err := r.client.Catalog().Connect(service, "", q)
		if err != nil {
			return failed("sidecars of "+service, "service:read on "+service, err)
		}
		r.note(meta)
		r.add(list)
		return nil
	}
	names, err := r.names(ctx, "", api.ServiceKindConnectProxy)
	if err != nil {
		return err
	}
	return each(ctx, names, func(ctx context.Context, name string) error {
		q := query(ctx)
		q.Filter = kindFilter("ServiceKind", api.ServiceKindConnectProxy)
		list, meta, err := r.client.Catalog().Service(name, "", q)
		if err != nil {
			return failed("sidecars named "+name, "service:read on "+name, err)
		}
		r.note(meta)
		r.add(list)
		return nil
	})
}

// names lists the services of a kind in a datacenter, "" being this one.
func (r *reader) names(ctx context.Context, datacenter string, kind api.ServiceKind) ([]string, error) {
	q := query(ctx)
	q.Datacenter = datacenter
	q.Filter = kindFilter("ServiceKind", kind)
	all, meta, err := r.client.Catalog().Services(q)
	if err != nil {
		return nil, failed(strings.TrimSuffix("the services of "+datacenter, " of "), "service:read", err)
	}
	r.note(meta)
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

func (r *reader) add(list []*api.CatalogService) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for _, s := range list {
		if s.ServiceProxy == nil || s.ServiceProxy.DestinationServiceName == "" {
			continue
		}
		r.here = s.Datacenter
		r.sidecars = append(r.sidecars, sidecar{
			id:    s.Node + "/" + s.ServiceID,
			owner: serviceName{s.ServiceProxy.DestinationServiceName, namespace(s.Namespace, "")},
			proxy: s.ServiceProxy,
		})
	}
}
