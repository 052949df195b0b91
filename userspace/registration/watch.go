package registration

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
	"golang.org/x/time/rate"
)

// watch is what Start and Run know from one look at the agent to the next.
type watch struct {
	facts      *facts // nil: not asked yet
	registered bool   // by this process
	hash       string // of the agent's last answer; "": do not wait for another one
	defaults   uint64 // index of the proxy-defaults last seen, with Settings.NoCentralConfig
	last       *Service
	ended      bool // there is no maintenance mode of an earlier process

	failures int       // in a row
	repairs  int       // without a time of calm in between
	due      time.Time // for the next repair at the soonest
	why      string    // there was a repair, as it was logged last
	told     string    // the trouble that was logged last; "": none
	remarked []string

	pace *rate.Limiter
}

func (t timing) pace() *rate.Limiter { return rate.NewLimiter(rate.Every(t.gap), 6) }

// errAbsent is that nobody has told the agent of the service yet, or no longer.
var errAbsent = errors.New("the agent has no such service")

// attempt looks at the agent once, does what follows from it, and waits if that
// failed. It returns the service if there is one as it should be and it is news.
func (r *Registrar) attempt(ctx context.Context, listening bool) (*Service, error) {
	w := &r.watch
	// Whatever an agent, or something that is in its place, answers: no tight loop.
	sleep(ctx, w.pace.Reserve().Delay())
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	have, err := r.look(ctx, listening)
	switch {
	case err == nil && have == nil:
		return nil, nil
	case err == nil:
		r.setStatus(true, nil)
		r.recovered()
		return r.news(have), nil
	case ctx.Err() != nil:
		return nil, err
	}
	w.hash = ""
	r.setStatus(false, r.explained(err))
	r.trouble(err)
	var f *final
	if !errors.As(err, &f) || listening {
		sleep(ctx, backoff(r.times.retry, r.times.retryMost, w.failures))
		w.failures++
	}
	return nil, err
}

// look returns the service with its options if it is as it should be, and nothing if
// there is reason to look again.
func (r *Registrar) look(ctx context.Context, listening bool) (*answer, error) {
	w := &r.watch
	if w.facts == nil {
		f, err := r.self(ctx)
		if err != nil {
			return nil, err
		}
		w.facts = &f
	}
	if r.settings.Register && !w.registered {
		if err := r.registerFirst(ctx); err != nil {
			return nil, err
		}
	}
	if r.serviceID() == "" {
		if err := r.find(ctx); err != nil {
			return nil, err
		}
	}
	if listening && w.last != nil && !w.ended {
		if err := r.endMaintenance(ctx); err != nil {
			return nil, err
		}
		w.ended = true
	}
	service, hash, err := r.read(ctx, w.hash)
	if isUnknown(err) {
		err = fmt.Errorf("%w: %q", errAbsent, r.serviceID())
	}
	switch {
	case r.settings.Register && errors.Is(err, errAbsent):
		return nil, r.repair(ctx, "the agent lost it")
	case err != nil:
		return nil, err
	case service.Kind != api.ServiceKindMeshGateway && !r.settings.Register:
		return nil, &final{fmt.Errorf("the service %q is no mesh gateway but of kind %q", service.ID, service.Kind)}
	}
	if r.settings.Register {
		if difference := differs(r.definition(), service); difference != "" {
			return nil, r.repair(ctx, "somebody changed it: its "+difference)
		}
	}
	config, err := r.config(ctx, service)
	if errors.Is(err, errUnsettled) {
		w.hash = ""
		sleep(ctx, r.times.settle)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	w.hash = hash
	return &answer{service, config}, nil
}

// answer is a service and the options that count.
type answer struct {
	*api.AgentService
	config map[string]any
}

func (r *Registrar) definition() *api.AgentServiceRegistration {
	return r.settings.definition(r.watch.facts.dualStack())
}

// registerFirst registers the service, unless the agent has one of another kind that
// has the same id.
func (r *Registrar) registerFirst(ctx context.Context) error {
	service, _, err := r.read(ctx, "")
	switch {
	case err == nil && service.Kind != api.ServiceKindMeshGateway:
		return &final{fmt.Errorf("not registering: the agent has a service %q of kind %q already: give another -proxy-id",
			service.ID, or(string(service.Kind), "typical"))}
	case err != nil && !isUnknown(err):
		return err
	}
	if err := r.register(ctx, r.definition()); err != nil {
		return err
	}
	r.watch.registered = true
	d := r.definition()
	r.log.Info("registered with the agent", "service", d.ID, "name", d.Name, "port", d.Port, "addresses", d.TaggedAddresses)
	return nil
}

// repair registers the service again, which takes the longer the more often it was
// done of late.
func (r *Registrar) repair(ctx context.Context, why string) error {
	w := &r.watch
	r.setStatus(false, errors.New(why))
	w.hash = ""
	if wait := time.Until(w.due); wait > 0 {
		sleep(ctx, wait)
		return nil // it may have come back meanwhile
	}
	if err := r.register(ctx, r.definition()); err != nil {
		return err
	}
	now := time.Now()
	if now.Sub(w.due) > r.times.calm {
		w.repairs = 0
	}
	w.due = now.Add(backoff(r.times.repair, r.times.repairMost, w.repairs))
	w.repairs++
	if why != w.why || w.repairs&(w.repairs-1) == 0 { // for the same reason, the first, second, fourth and so on
		w.why = why
		r.log.Warn("registered again with the agent", "service", r.serviceID(), "because", why, "times", w.repairs,
			"probably", repairAdvice(w.repairs))
	}
	return nil
}

// news is the service if it is another one than before.
func (r *Registrar) news(have *answer) *Service {
	w := &r.watch
	s, notes := service(have.AgentService, have.config, *w.facts)
	r.remark(notes)
	if w.last != nil && reflect.DeepEqual(*w.last, s) {
		return nil
	}
	switch {
	case w.last == nil:
		r.log.Info("the gateway's service", "service", s.ID, "name", s.Name, "datacenter", s.Datacenter, "node", s.Node, "consul", w.facts.Version)
	case !slices.Equal(w.last.Listeners, s.Listeners):
		r.log.Warn("the gateway is to listen elsewhere, which takes a restart", "from", w.last.Listeners, "to", s.Listeners)
	default:
		r.log.Info("the options of the gateway's service changed", "service", s.ID)
	}
	w.last = &s
	return &s
}

// remark logs what there is to say about proxy.config, when it is something else than
// the last time.
func (r *Registrar) remark(n remarks) {
	w := &r.watch
	all := append(slices.Clone(n.wrong), n.ignored...)
	if slices.Equal(all, w.remarked) {
		return
	}
	w.remarked = all
	for _, wrong := range n.wrong {
		r.log.Warn("proxy.config of the gateway's service", "service", r.serviceID(), "problem", wrong)
	}
	if len(n.ignored) > 0 {
		r.log.Info("options in proxy.config that mean nothing to Sluice", "service", r.serviceID(), "options", strings.Join(n.ignored, ", "))
	}
}

// service is what the agent's answer means.
func service(have *api.AgentService, config map[string]any, f facts) (Service, remarks) {
	options, binding, notes := parseOptions(config)
	listeners, wrong := binding.listeners(have, f.dualStack())
	notes.wrong = append(notes.wrong, wrong...)
	return Service{
		ID: have.ID, Name: have.Service,
		Namespace: have.Namespace, Partition: have.Partition,
		Datacenter: or(have.Datacenter, f.Datacenter), Node: f.NodeName,
		Listeners: listeners, Options: options,
		WANFederation: have.Meta[wanFederation] == "1",
	}, notes
}

// trouble logs an error when it is of another sort than the last one.
func (r *Registrar) trouble(err error) {
	w := &r.watch
	sort := sortOf(err)
	if sort == w.told {
		return
	}
	w.told = sort
	if errors.Is(err, errAbsent) {
		r.log.Warn("waiting for somebody to tell the agent of the gateway's service", "err", err, "probably", r.advice(err))
		return
	}
	r.log.Warn("the gateway's service is not known to be in the agent", "err", briefly(err), "probably", r.advice(err))
}

func (r *Registrar) recovered() {
	w := &r.watch
	if w.told != "" {
		r.log.Info("the agent has the gateway's service", "service", r.serviceID())
	}
	w.told, w.failures = "", 0
}
