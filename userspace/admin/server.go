package admin

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"golang.org/x/net/netutil"

	"sluice/userspace/gateway"
	"sluice/userspace/route"
)

const (
	// answerTime bounds a request from its first byte to the last of its answer.
	answerTime = 30 * time.Second
	// connections is how many are answered at a time; others wait.
	connections = 32
	// largestBody is of a request, in bytes.
	largestBody = 64 << 10
)

// Options are the settings of a Server.
type Options struct {
	Socket string // its path
	Group  string // whose members may use it, by name or number; "": the process's own
	Log    *slog.Logger
}

// Server answers at the agent's socket.
type Server struct {
	http   http.Server
	socket *socket
	done   chan struct{}
}

// Listen makes the socket, for which the directory is made if need be, and answers there
// until Close. It fails with ErrInUse when another agent does.
func Listen(o Options, a Agent) (*Server, error) {
	l, err := listen(o.Socket, o.Group)
	if err != nil {
		return nil, fmt.Errorf("listen at the admin socket %s: %w", o.Socket, err)
	}
	s := &Server{
		http: http.Server{
			Handler:        handler(a, o.Log),
			ReadTimeout:    5 * time.Second,
			WriteTimeout:   answerTime + 5*time.Second,
			IdleTimeout:    time.Minute,
			MaxHeaderBytes: 16 << 10,
			ErrorLog:       slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn),
		},
		socket: l,
		done:   make(chan struct{}),
	}
	go s.serve()
	return s, nil
}

func (s *Server) serve() {
	defer close(s.done)
	// It returns when the server is closed. Other errors of the listener are retried by
	// it, or leave nothing to do.
	_ = s.http.Serve(netutil.LimitListener(s.socket, connections))
}

// Close stops answering, lets answers under way end while ctx allows, and removes the
// socket.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("end requests at the admin socket: %w", err), s.http.Close())
	}
	<-s.done
	return err
}

// handler leads requests to the agent.
func handler(a Agent, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	answer := func(pattern string, f func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), answerTime)
			defer cancel()
			r.Body = http.MaxBytesReader(w, r.Body, largestBody)
			v, err := f(r.WithContext(ctx))
			if err != nil {
				refuse(w, err)
				return
			}
			reply(w, http.StatusOK, v)
		})
	}
	answer("GET /v1/status", func(r *http.Request) (any, error) { return a.Status(r.Context()) })
	answer("GET /v1/source", func(r *http.Request) (any, error) { return source(r, a) })
	answer("POST /v1/kill", func(r *http.Request) (any, error) { return kill(r, a, log) })
	answer("POST /v1/drain", func(r *http.Request) (any, error) { return drain(r, a, log) })
	answer("POST /v1/policy", func(r *http.Request) (any, error) { return policy(r, a, log) })
	answer("POST /v1/reload", func(r *http.Request) (any, error) {
		done, err := a.Reload(r.Context())
		return Reloaded{done}, err
	})
	mux.HandleFunc("GET /v1/flows", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), answerTime)
		defer cancel()
		flows(w, r.WithContext(ctx), a)
	})
	return mux
}

// badRequest is an error that the one who asked has made.
type badRequest struct{ error }

func refuse(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	if bad := (badRequest{}); errors.As(err, &bad) {
		status = http.StatusBadRequest
	}
	reply(w, status, failure{err.Error()})
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // there is nobody else to tell
}

// body reads a request's JSON object. What is not known in it is an error: it would be
// left undone.
func body(r *http.Request, v any) error {
	in := json.NewDecoder(r.Body)
	in.DisallowUnknownFields()
	err := in.Decode(v)
	if err == nil {
		if _, more := in.Token(); more != io.EOF {
			err = errors.New("something follows the object")
		}
	}
	if err != nil {
		return badRequest{fmt.Errorf("read the request: %w", err)}
	}
	return nil
}

func source(r *http.Request, a Agent) (any, error) {
	address, err := netip.ParseAddr(r.URL.Query().Get("address"))
	if err != nil {
		return nil, badRequest{fmt.Errorf("address of a source: %w", err)}
	}
	return a.Source(r.Context(), address)
}

func kill(r *http.Request, a Agent, log *slog.Logger) (any, error) {
	var which gateway.Selection
	if err := body(r, &which); err != nil {
		return nil, err
	}
	if which == (gateway.Selection{}) {
		return nil, badRequest{errors.New("which flows? name an id, a route or a source")}
	}
	n, err := a.Kill(r.Context(), which)
	log.Info("flows killed by an operator", "flows", n, "id", which.ID, "route", which.Route, "source", which.Source)
	return Killed{n}, err
}

func drain(r *http.Request, a Agent, log *slog.Logger) (any, error) {
	var d Drain
	if err := body(r, &d); err != nil {
		return nil, err
	}
	var deadline time.Duration
	if d.Deadline != "" {
		var err error
		if deadline, err = time.ParseDuration(d.Deadline); err != nil || deadline <= 0 {
			return nil, badRequest{fmt.Errorf("deadline %q: want a duration such as 30s", d.Deadline)}
		}
	}
	if err := a.Drain(r.Context(), deadline); err != nil {
		return nil, err
	}
	log.Info("an operator asked for a drain", "deadline", d.Deadline)
	return struct{}{}, nil
}

func policy(r *http.Request, a Agent, log *slog.Logger) (any, error) {
	var p Policy
	if err := body(r, &p); err != nil {
		return nil, err
	}
	// As the route would be checked that had these options.
	if err := (&route.Route{Name: p.Route, Refuse: "-", Options: p.options()}).Validate(); err != nil {
		return nil, badRequest{err}
	}
	if err := a.SetPolicy(r.Context(), p.Route, p.options()); err != nil {
		return nil, err
	}
	log.Info("an operator set the policy of a route", "route", p.Route, "path", p.Path, "credit", p.Credit, "max_flows", p.MaxFlows)
	return struct{}{}, nil
}

// flows streams them, a line for each. With a limit it has to see all first, and keeps
// no more than it needs; without, they go out as they come.
func flows(w http.ResponseWriter, r *http.Request, a Agent) {
	which, order, err := parameters(r.URL.Query())
	if err != nil {
		refuse(w, badRequest{err})
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	// Small writes would each be a chunk.
	buf := bufio.NewWriterSize(w, 64<<10)
	out := json.NewEncoder(buf)
	write := func(f *Flow) error { return out.Encode(f) }
	if order.Limit == 0 {
		err = a.Flows(r.Context(), which, write)
	} else {
		kept := first{order: order}
		err = a.Flows(r.Context(), which, kept.add)
		for _, f := range kept.list() {
			err = cmp.Or(err, write(f))
		}
	}
	if err != nil {
		_ = out.Encode(failure{err.Error()})
	}
	_ = buf.Flush()
}

func parameters(q url.Values) (which gateway.Selection, order Order, err error) {
	for name, values := range q {
		value := values[0]
		switch name {
		case "id":
			which.ID, err = strconv.ParseUint(value, 10, 64)
		case "route":
			which.Route = value
		case "source":
			which.Source, err = netip.ParsePrefix(value)
		case "sort":
			order.By = value
		case "limit":
			order.Limit, err = strconv.Atoi(value)
		default:
			return which, order, fmt.Errorf("parameter %q: there are id, route, source, sort and limit", name)
		}
		if err != nil {
			return which, order, fmt.Errorf("parameter %s: %w", name, err)
		}
	}
	return which, order, order.Check()
}
