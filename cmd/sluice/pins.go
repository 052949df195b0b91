package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sluice/loader"
	"sluice/userspace/admin"
	"sluice/userspace/flow"
	"sluice/userspace/metrics"
	"sluice/userspace/mirror"
	"sluice/userspace/route"
)

// pins is the agent's hold on the routing table in the kernel's maps. The gateway works
// without it as well: then nothing is counted by route, and "sluice routes" has nothing
// to read.
type pins struct {
	log    *slog.Logger
	opts   loader.TableOptions
	about  atomic.Pointer[mirror.About] // what goes with the table; nil: nothing
	held   atomic.Pointer[held]         // nil: not ours yet, or not to be had
	next   chan *route.Table            // a newer one takes the place of one that waits
	warned bool                         // that they are another process's
	stop   func()
	wg     sync.WaitGroup
}

// held is the maps while they are ours.
type held struct {
	table  *loader.Table
	mirror *mirror.Mirror
}

// heldRetry is between attempts to get maps that another process holds.
const heldRetry = time.Second

// openPins opens the maps. That they are not to be had costs the maps and not the
// gateway.
func openPins(set *settings, log *slog.Logger) *pins {
	p := &pins{
		log:  log,
		opts: loader.TableOptions{Root: set.bpfDir, Instance: set.instance, Limits: set.pinned},
		next: make(chan *route.Table, 1),
		stop: func() {},
	}
	err := p.share(set.control.group)
	if err == nil {
		err = p.open()
	}
	if err != nil && !errors.Is(err, loader.ErrInUse) {
		log.Warn("no table in the kernel's maps: nothing is counted by route, and sluice routes, explain and policy have nothing to go by", "why", err)
	}
	return p
}

// share has the group that may ask the gateway read its maps too.
func (p *pins) share(group string) error {
	gid, err := admin.GroupID(group)
	if err == nil && gid > 0 {
		p.opts.Group = gid
	}
	return err
}

// open takes the maps. While another process has them, the error is ErrInUse.
func (p *pins) open() error {
	table, err := loader.OpenTable(p.opts)
	if errors.Is(err, loader.ErrInUse) {
		if !p.warned {
			p.warned = true
			p.log.Warn("the table's maps are another process's of this -instance: taken over when it ends", "instance", p.opts.Instance)
		}
		return err
	}
	if err != nil {
		return err
	}
	m, err := mirror.Open(table.Store())
	if err != nil {
		return errors.Join(err, table.Close())
	}
	for _, note := range table.Notes() {
		p.log.Warn("beside the table's maps", "found", note)
	}
	for _, damage := range m.Damage() {
		p.log.Warn("damage in the table's maps: mended with the next table", "what", damage)
	}
	p.held.Store(&held{table, m})
	return nil
}

// last is the table that an earlier process left, and nil when there is no whole one.
func (p *pins) last() (*route.Table, mirror.Meta) {
	h := p.held.Load()
	if h == nil {
		return nil, mirror.Meta{}
	}
	t, meta := h.mirror.Table()
	if t == nil || meta.State != mirror.Whole || len(h.mirror.Damage()) > 0 {
		return nil, meta
	}
	return t, meta
}

// there tells whether the maps are ours.
func (p *pins) there() bool { return p.held.Load() != nil }

// keep has the maps follow, soon. It does not wait.
func (p *pins) keep(t *route.Table) {
	for {
		select {
		case p.next <- t:
			return
		default:
		}
		select {
		case <-p.next:
		default:
		}
	}
}

// start has tables written from now on, until close.
func (p *pins) start() {
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	p.wg.Go(func() { p.run(ctx) })
}

func (p *pins) run(ctx context.Context) {
	var latest *route.Table
	for {
		var retry <-chan time.Time
		if p.warned && p.held.Load() == nil {
			retry = time.After(heldRetry)
		}
		select {
		case <-ctx.Done():
			return
		case latest = <-p.next:
		case <-retry:
			if p.open() != nil {
				continue
			}
		}
		if h := p.held.Load(); h != nil && latest != nil {
			about := p.about.Load()
			if about == nil {
				about = new(mirror.About)
			}
			if err := h.mirror.Sync(latest, *about); err != nil {
				p.log.Error("the table in the kernel's maps is not the one in use", "error", err)
			}
		}
	}
}

// account is what flows of a route count into.
func (p *pins) account(name string) flow.Account {
	h := p.held.Load()
	if h == nil {
		return nil
	}
	id, stats := h.mirror.Enter(name)
	return account{id, stats}
}

// eachRoute tells what routes have done.
func (p *pins) eachRoute(each func(*metrics.Route)) {
	h := p.held.Load()
	if h == nil {
		return
	}
	t, _ := h.mirror.Table()
	if t == nil {
		return
	}
	moved, err := h.mirror.Traffic()
	if err != nil {
		p.log.Error("no metrics of what the kernel moved", "error", err)
	}
	for r := range t.Routes() {
		if id, c, ok := h.mirror.Counts(r.Name); ok {
			each(&metrics.Route{
				Name: r.Name, Active: c.Active, Flows: c.Flows, Sent: c.Sent, Received: c.Received, Kernel: moved[id].Bytes,
				ConnectFailures: c.ConnectFailures, Refused: c.Refused(),
			})
		}
	}
}

// maps are how full the maps are, by what a table may have.
func (p *pins) maps() []metrics.Map {
	h := p.held.Load()
	if h == nil {
		return nil
	}
	_, meta := h.mirror.Table()
	return tableFill(meta, h.mirror.Limits())
}

func tableFill(meta mirror.Meta, limits mirror.Limits) []metrics.Map {
	return []metrics.Map{
		{Name: "routes", Used: meta.Routes, Max: limits.Routes},
		{Name: "clusters", Used: meta.Clusters, Max: limits.Clusters},
		{Name: "endpoints", Used: meta.Addresses, Max: limits.Addresses},
	}
}

// policy is what an operator has set for a route.
func (p *pins) policy(name string) route.Options {
	if h := p.held.Load(); h != nil {
		return h.mirror.Policy(name)
	}
	return route.Options{}
}

var errNoPins = errors.New("there is no table in the kernel's maps to keep a policy in (see the log)")

// setPolicy overrules the options of a route. Setting nothing clears it.
func (p *pins) setPolicy(name string, o route.Options) error {
	h := p.held.Load()
	if h == nil {
		return errNoPins
	}
	return h.mirror.SetPolicy(name, o)
}

// eachPolicy calls each with what operators have set.
func (p *pins) eachPolicy(each func(name string, o route.Options)) {
	if h := p.held.Load(); h != nil {
		for name, o := range h.mirror.Policies {
			each(name, o)
		}
	}
}

// close gives the maps up, which no flow may count into any more. What is in them
// stays.
func (p *pins) close() {
	p.stop()
	p.wg.Wait()
	if h := p.held.Swap(nil); h != nil {
		if err := h.table.Close(); err != nil {
			p.log.Error("cannot give up the table's maps", "error", err)
		}
	}
}

// account has a route's counters in shared memory count as package flow wants.
type account struct {
	id    uint32
	stats *mirror.Stats
}

func (a account) RouteID() uint32 { return a.id }

func (a account) ConnectFailed() { a.stats.ConnectFailures.Add(1) }

func (a account) Moved(sent, received uint64) {
	a.stats.Sent.Add(sent)
	a.stats.Received.Add(received)
}

func (a account) Ended(end flow.End) {
	a.stats.Active.Add(-1)
	a.stats.End(end)
}
