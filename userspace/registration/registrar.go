package registration

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

// Service is the gateway's service as its agent has it, and what it means for the
// gateway.
type Service struct {
	ID, Name   string
	Namespace  string // of Consul Enterprise; "" otherwise
	Partition  string
	Datacenter string
	Node       string // of the agent; "" if the token may not read it
	Listeners  []Listener
	Options    Options

	WANFederation bool // servers federate through this gateway
}

// Status is how the registrar stands with its agent.
type Status struct {
	Present bool      // when last asked, the agent had the service as it should be
	Since   time.Time // since when it is so
	Err     error     // why it is not known, or not so
}

// Registrar keeps the gateway's service in its agent. Start and Run are for one
// goroutine; the other methods may be called from any, at any time.
type Registrar struct {
	settings Settings
	api      *api.Client
	log      *slog.Logger
	times    timing

	writing chan struct{}   // holds one while a request is under way that changes what the agent has
	leaving context.Context // done once the gateway is to leave
	leave   context.CancelFunc

	mu         sync.Mutex
	id         string                        // of the service; "" while it is looked for
	registered *api.AgentServiceRegistration // by this process, or it may be so; nil: not
	status     Status

	watch watch // Start's and Run's
}

// New returns a registrar for the agent of the client, whose namespace and partition
// are the service's, or says what is wrong with the settings. A nil log is
// slog.Default.
func New(s Settings, client *api.Client, log *slog.Logger) (*Registrar, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.Default()
	}
	r := &Registrar{
		settings: s,
		api:      client,
		log:      log,
		times:    usual,
		writing:  make(chan struct{}, 1),
		id:       s.id(),
		status:   Status{Since: time.Now()},
	}
	r.leaving, r.leave = context.WithCancel(context.Background())
	r.watch.pace = r.times.pace()
	return r, nil
}

// Planned is the service as it will be, for a start without an agent: its names, its
// listeners and options as far as the settings tell them. Without Settings.Register
// they tell too little, and it is false.
func (r *Registrar) Planned() (Service, bool) {
	if !r.settings.Register {
		return Service{}, false
	}
	d := r.settings.definition(false)
	s, _ := service(&api.AgentService{
		ID: d.ID, Service: d.Name, Address: d.Address, Port: d.Port, TaggedAddresses: d.TaggedAddresses,
	}, r.settings.binding(), facts{})
	return s, true
}

// Start registers or finds the service and returns it. It tries until it has
// succeeded; its error says that the settings and what the agent has do not fit, or
// that the context was done, and what was the matter until then, or is ErrLeaving. Run
// may be called after that too.
func (r *Registrar) Start(ctx context.Context) (Service, error) {
	ctx, stop := r.staying(ctx)
	defer stop()
	for {
		s, err := r.attempt(ctx, false)
		var f *final
		switch {
		case s != nil:
			return *s, nil
		case errors.As(err, &f):
			return Service{}, f
		case err != nil && r.leaving.Err() != nil:
			return Service{}, ErrLeaving
		case err != nil && ctx.Err() != nil:
			if before := r.Status().Err; before != nil {
				err = before
			}
			return Service{}, fmt.Errorf("no service of the gateway in the agent: %w", err)
		}
	}
}

// Run keeps the service in the agent, and calls changed when it is another one than
// the last time, and for the first time unless Start has succeeded. It ends the
// maintenance mode that an earlier process left behind, so it is for a gateway that
// listens. It returns when the context is done, or with Maintenance or Deregister.
func (r *Registrar) Run(ctx context.Context, changed func(Service)) {
	ctx, stop := r.staying(ctx)
	defer stop()
	for ctx.Err() == nil {
		if s, _ := r.attempt(ctx, true); s != nil && ctx.Err() == nil {
			changed(*s)
		}
	}
}

// staying is a context that is done when the gateway leaves, too.
func (r *Registrar) staying(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	detach := context.AfterFunc(r.leaving, func() { cancel(ErrLeaving) })
	return ctx, func() { detach(); cancel(nil) }
}

// ErrLeaving is that Maintenance or Deregister was called while Start was at it.
var ErrLeaving = errors.New("the gateway is leaving")

// Status tells how it goes.
func (r *Registrar) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

func (r *Registrar) setStatus(present bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if present != r.status.Present {
		r.status.Since = time.Now()
	}
	r.status.Present, r.status.Err = present, err
}

func (r *Registrar) serviceID() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.id
}

// final is an error that no waiting mends.
type final struct{ error }

func (f *final) Unwrap() error { return f.error }

// timing is how long things take; tests are in more of a hurry.
type timing struct {
	request time.Duration // the agent has so long to answer
	wait    time.Duration // and so long in addition when it is to answer once something changes

	retry     time.Duration // longest wait after the first of several failures in a row
	retryMost time.Duration // what that doubles up to

	repair     time.Duration // least time from one registration to the next
	repairMost time.Duration // what that doubles up to
	calm       time.Duration // without a repair for so long, it begins anew

	settle time.Duration // until the agent has merged a change of proxy-defaults

	gap time.Duration // from one look at the agent to the next, on average
}

var usual = timing{
	request:    10 * time.Second,
	wait:       time.Minute,
	retry:      500 * time.Millisecond,
	retryMost:  10 * time.Second,
	repair:     time.Second,
	repairMost: time.Minute,
	calm:       5 * time.Minute,
	settle:     2 * time.Second,
	gap:        500 * time.Millisecond,
}

// backoff is a random part of a time that doubles with each turn, at least half of it.
func backoff(first, most time.Duration, turn int) time.Duration {
	longest := most
	if turn < 16 {
		longest = min(most, first<<turn)
	}
	return longest/2 + rand.N(longest/2+1)
}

// sleep returns after d, or when the context is done.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
