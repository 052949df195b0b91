package main

import (
	"errors"
	"log/slog"

	"sluice/loader"
	"sluice/userspace/flow"
	"sluice/userspace/gateway"
	"sluice/userspace/local"
	"sluice/userspace/metrics"
	"sluice/userspace/poll"
	"sluice/userspace/relay"
	"sluice/userspace/slot"
)

// The values of -local-acceleration.
const (
	localOff   = "off"
	localOn    = "on"
	localForce = "force" // on kernels that mislead other processes, too
	// localDirect is force, and from a client to a server on this host past both connections.
	localDirect = "direct"
)

var localModes = []string{localOff, localOn, localForce, localDirect}

// misleading tells whether the mode goes with processes that are told wrong.
func misleading(mode string) bool { return mode == localForce || mode == localDirect }

// localPath is what the local paths of all workers share.
type localPath struct {
	loaded *loader.Local // nil: the path is off
	engine *local.Engine // the same
	why    string        // it is off, if it is
}

// openLocal loads the kernel's side of the local path, if it was asked for, and sees
// whether it works here. That it does not costs the path and not the gateway.
func openLocal(set *settings, wanted bool, log *slog.Logger) localPath {
	var l localPath
	switch {
	case set.localMode == localOff:
		l.why = "-local-acceleration is off"
	case !wanted:
		l.why = "no route wants it"
	default:
		if err := l.load(set, log); err != nil {
			l.why = err.Error()
			l.close(log)
			log.Warn("no local path: flows take the others", "why", err)
			return l
		}
		log.Info("local path", "mode", set.localMode)
	}
	return l
}

func (l *localPath) load(set *settings, log *slog.Logger) error {
	err := checkKernel(set, log)
	if err == nil {
		err = loader.Missing(loader.ProbeLocal())
	}
	if err != nil {
		return err
	}
	if l.loaded, err = loader.LoadLocal(min(set.kernelFlows, set.limits.MaxFlows)); err != nil {
		return err
	}
	l.engine = local.New(l.loaded)
	set.setDelivery(l.engine)
	err = l.engine.SelfTest()
	if misleading(set.localMode) && errors.Is(err, local.ErrMisleads) {
		log.Warn("local path: forced, though peers on this host may be told wrong", "how", err)
		return nil
	}
	return err
}

// setDelivery has messages put into receivers' own queues, if the mode is that.
func (s *settings) setDelivery(e *local.Engine) {
	if s.localMode == localDirect {
		e.Deliver(uint32(s.credit))
	}
}

// before puts the path in front of the one that flows take by default.
func (l *localPath) before(next gateway.Path, loop *poll.Loop, splice *relay.Splice) gateway.Path {
	if l.engine == nil {
		return next
	}
	return l.engine.Path(loop, splice, next)
}

// alone are the paths where there is no sockmap.
func (l *localPath) alone(loop *poll.Loop, splice *relay.Splice) []gateway.Path {
	if l.engine == nil {
		return []gateway.Path{splice}
	}
	return []gateway.Path{l.engine.Path(loop, splice, plainPath{splice}), splice}
}

// hold has flows of a route go by TCP that are under way here, if an operator wants them on
// another path: this one is auto's alone.
func (l *localPath) hold(route, path string) {
	if l.engine != nil {
		l.engine.Hold(route, path != "" && path != "auto")
	}
}

// status tells whether the path takes flows, and otherwise why not.
func (l *localPath) status() (on bool, why string) {
	if l.engine == nil {
		return false, l.why
	}
	return true, ""
}

// stats are for the metrics.
func (l *localPath) stats() metrics.Local {
	on, why := l.status()
	s := metrics.Local{On: on, Why: why}
	if l.engine == nil {
		return s
	}
	s.Fallbacks, s.Messages = l.engine.Fallen(), map[string]uint64{}
	messages, err := l.loaded.Messages()
	if err != nil {
		return s
	}
	for m, n := range messages {
		s.Messages[slot.Message(m).String()] = n
	}
	return s
}

// close unloads what no flow uses any more.
func (l *localPath) close(log *slog.Logger) {
	if l.loaded == nil {
		return
	}
	if err := l.loaded.Close(); err != nil {
		log.Error("cannot unload the local path", "error", err)
	}
	l.loaded, l.engine = nil, nil
}

// plainPath is splice as the path that flows take by default, where there is no sockmap.
type plainPath struct{ *relay.Splice }

func (plainPath) Name() string { return "auto" }

func (p plainPath) Carry(f *flow.Flow, down, up poll.FD, over func(flow.End, string)) flow.Carriage {
	f.Path = p.Splice.Name()
	return p.Splice.Carry(f, down, up, over)
}

// Close has nothing to free: the path is closed as itself.
func (plainPath) Close() {}
