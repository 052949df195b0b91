package main

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"sluice/loader"
	"sluice/userspace/auto"
	"sluice/userspace/gateway"
	"sluice/userspace/metrics"
	"sluice/userspace/poll"
	"sluice/userspace/relay"
	"sluice/userspace/route"
	"sluice/userspace/slot"
	"sluice/userspace/sockmap"
)

// pathNames are those that a route may ask for, beside "auto".
var pathNames = []string{"splice", "sockmap"}

// datapath is what the paths of all workers share.
type datapath struct {
	set    *settings
	log    *slog.Logger
	loaded *loader.Datapath // nil: sockmap is off
	engine *sockmap.Engine  // the same
	why    string           // sockmap is off, if it is
	local  localPath
	worker int // to make paths for next

	mu sync.Mutex // held to close it, and to look at it
}

// openDatapath loads the kernel's side of the sockmap path, unless no route wants it,
// and sees whether it works here. That it does not costs the path and not the gateway.
func openDatapath(set *settings, wanted bool, log *slog.Logger) *datapath {
	d := &datapath{set: set, log: log, local: openLocal(set, wanted, log)}
	if !wanted {
		d.why = "no route wants it"
		return d
	}
	if err := d.load(); err != nil {
		d.why = err.Error()
		d.unload()
		log.Warn("no sockmap path: flows take splice", "why", err)
		return d
	}
	log.Info("sockmap path", "credit", set.credit.String())
	return d
}

func (d *datapath) load() error {
	if err := checkKernel(d.set, d.log); err != nil {
		return err
	}
	if err := loader.Missing(loader.Probe(d.set.bpfDir)); err != nil {
		return err
	}
	var err error
	d.loaded, err = loader.Load(loader.Options{
		Root: d.set.bpfDir, Instance: d.set.instance, Flows: min(d.set.kernelFlows, d.set.limits.MaxFlows), Workers: d.set.gateway.Workers,
	})
	if err != nil {
		return err
	}
	if d.engine, err = sockmap.New(d.loaded, sockmap.Config{Credit: uint32(d.set.credit)}); err != nil {
		return err
	}
	if err := d.engine.SelfTest(0); err != nil {
		return fmt.Errorf("self-test: %w", err)
	}
	return nil
}

// checkKernel refuses kernels that are known to crash, unless told otherwise.
func checkKernel(set *settings, log *slog.Logger) error {
	release, err := loader.Release()
	if err != nil {
		return err
	}
	switch safety, why := loader.CheckVersion(release); {
	case safety == loader.Risky && !set.unsafeKernel:
		return errors.New(why + " (if this one was patched: -unsafe-kernel)")
	case safety != loader.Safe:
		log.Warn("sockmap on a kernel without all of its fixes", "why", why)
	}
	return nil
}

// wantsKernel tells whether flows of any route may take another path than splice.
func wantsKernel(general string, own map[string]string, table *route.Table) bool {
	if general != "splice" {
		return true
	}
	for _, path := range own {
		if path != "splice" {
			return true
		}
	}
	for r := range table.Routes() {
		if r.Path != "" && r.Path != "splice" {
			return true
		}
	}
	return false
}

// paths makes those of one worker. The last takes every flow.
func (d *datapath) paths(loop *poll.Loop) ([]gateway.Path, error) {
	splice, err := relay.New(loop, d.set.pipes)
	if err != nil {
		return nil, err
	}
	if d.engine == nil {
		return d.local.alone(loop, splice), nil
	}
	kernel, err := d.engine.Path(loop, d.worker, splice)
	if err != nil {
		return nil, err
	}
	d.worker++
	return []gateway.Path{d.local.before(auto.New(loop, splice, kernel), loop, splice), kernel, splice}, nil
}

// setPolicy has the program treat a route's flows as an operator wants. Setting nothing
// has it follow the table again.
func (d *datapath) setPolicy(name string, o route.Options) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.local.hold(name, o.Path)
	switch {
	case d.engine == nil:
		return nil
	case o == route.Options{}:
		return d.engine.ClearPolicy(name)
	}
	p := slot.Policy{Credit: uint32(o.Credit)}
	switch o.Path {
	case "":
	case "splice":
		p.Rule = slot.Off
	default:
		p.Rule = slot.On
	}
	return d.engine.SetPolicy(name, p)
}

// stats are for the metrics. They may be read while close is at work.
func (d *datapath) stats() metrics.Sockmap {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.engine == nil {
		return metrics.Sockmap{Why: d.why}
	}
	why := d.engine.Off()
	s := metrics.Sockmap{On: why == "", Why: why, Fallbacks: d.engine.Fallen(), Broken: d.engine.Broken(), Pieces: map[string]uint64{}}
	counters, err := d.loaded.Counters()
	if err != nil {
		return s
	}
	for reason, n := range counters {
		s.Pieces[slot.Reason(reason).String()] = n
	}
	return s
}

// localStats is stats for the local path.
func (d *datapath) localStats() metrics.Local {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.local.stats()
}

// close unloads what no flow uses any more.
func (d *datapath) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unload()
	d.local.close(d.log)
}

// unload is close for the sockmap path.
func (d *datapath) unload() {
	if d.loaded == nil {
		return
	}
	if err := d.loaded.Close(); err != nil {
		d.log.Error("cannot unload the sockmap path", "error", err)
	}
	d.loaded, d.engine = nil, nil
}
