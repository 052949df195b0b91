package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"sluice/loader"
	"sluice/userspace/admin"
	"sluice/userspace/admission"
	"sluice/userspace/explain"
	"sluice/userspace/local"
	"sluice/userspace/mirror"
)

// mapReader reads a gateway's table from its pinned maps.
type mapReader struct {
	from   pinned
	table  *loader.Table
	client *admin.Client
	view   *mirror.View // the last one read; nil: there is none
}

// openTable opens the maps of a gateway's table to read them.
func openTable(from pinned) (*loader.Table, error) {
	table, err := loader.ViewTable(from.dir, from.instance)
	return table, from.explain(err)
}

// explain says what an error of opening pins means.
func (p pinned) explain(err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return noTable{p}
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("no right to read the maps of gateway %q: they are for root and the group of its -admin-group, and the way to them must be open (chmod o+x the mount point of the BPF file system): %w", p.instance, err)
	}
	return err
}

// noTable is the error that a gateway has no table in maps.
type noTable struct{ pinned }

func (e noTable) Error() string {
	return fmt.Sprintf("no gateway %q has a table below %s: is it running, and may it pin there? (sluice check)", e.instance, e.dir)
}

func (e noTable) Unwrap() error { return os.ErrNotExist }

// openMaps opens the maps of a gateway for the verbs that show its table.
func openMaps(from pinned) (tableReader, error) {
	table, err := openTable(from)
	if err != nil {
		return nil, err
	}
	return &mapReader{from: from, table: table, client: admin.NewClient(from.socket)}, nil
}

func (r *mapReader) Close() error {
	r.client.Close()
	return r.table.Close()
}

// Read returns all there is. The agent, which takes time for its rates, is asked while
// the maps are read.
func (r *mapReader) Read(ctx context.Context) (*explain.Facts, error) {
	if err := r.renew(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answer := r.askAgent(ctx)
	view, counts, err := r.read()
	if err != nil {
		cancel()
		<-answer
		return nil, err
	}
	f := &explain.Facts{
		Table:     view.Table,
		Overrides: view.Policy,
		Counts:    counts,
		Meta:      explain.Meta{Version: view.Meta.Version, Source: view.Meta.Source, Index: view.Meta.Index, Age: time.Since(view.Meta.Written)},
	}
	a := <-answer
	if a.err != nil {
		f.Meta.Silent = a.err.Error()
		return f, nil
	}
	addAgent(f, a.status)
	return f, nil
}

// renew opens the pins again for another look: by now another gateway may have put larger
// maps in their place.
func (r *mapReader) renew() error {
	if r.view == nil {
		return nil
	}
	table, err := openTable(r.from)
	if err != nil {
		return err
	}
	old := r.table
	r.table, r.view = table, nil
	return old.Close()
}

// Source is what only the agent knows.
func (r *mapReader) Source(ctx context.Context, address netip.Addr) (*admission.Standing, error) {
	ctx, cancel := context.WithTimeout(ctx, agentTime)
	defer cancel()
	s, err := r.client.Source(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("of -source only the gateway itself can tell: %w", err)
	}
	return s, nil
}

func (r *mapReader) read() (view *mirror.View, counts explain.Sample, err error) {
	if r.view, err = mirror.Read(r.table.Store()); err == nil {
		counts, err = r.sample(r.view)
	}
	return r.view, counts, err
}

// Counts returns only the counters. While the table stays as it is, nothing else is
// read.
func (r *mapReader) Counts(context.Context) (explain.Sample, error) {
	if r.view != nil {
		if same, err := r.view.Recount(r.table.Store()); err != nil {
			return explain.Sample{}, err
		} else if same {
			return r.sample(r.view)
		}
	}
	_, counts, err := r.read()
	return counts, err
}

// sample makes counters of a view. A gateway that is gone has no flows, though it could
// not count them down.
func (r *mapReader) sample(view *mirror.View) (explain.Sample, error) {
	alive, err := r.table.Alive()
	if err != nil {
		return explain.Sample{}, err
	}
	s := explain.Sample{At: time.Now(), Routes: make(map[string]explain.Counters, view.Len())}
	for name, state := range view.States {
		c := state.Counts
		if !alive {
			c.Active = 0
		}
		s.Routes[name] = explain.Counters{
			Active: c.Active, Flows: c.Flows, Sent: c.Sent, Received: c.Received, Kernel: state.Traffic.Bytes,
			ConnectFailures: c.ConnectFailures, Refused: c.Refused(),
		}
	}
	return s, nil
}

// agentTime is how long the agent may take to add what maps do not have.
const agentTime = 3 * time.Second

// errEnded is why an agent does not answer that is not there.
var errEnded = errors.New("it has ended")

// agentAnswer is what the agent says of itself, or why it does not answer.
type agentAnswer struct {
	status *admin.Status
	err    error
}

func (r *mapReader) askAgent(ctx context.Context) <-chan agentAnswer {
	answer := make(chan agentAnswer, 1)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, agentTime)
		defer cancel()
		status, err := r.client.Status(ctx)
		if err != nil {
			if alive, e := r.table.Alive(); e == nil && !alive {
				err = errEnded
			}
		}
		answer <- agentAnswer{status, err}
	}()
	return answer
}

// addAgent adds what only the agent knows: whether Consul is heard, its settings, and
// which paths are off.
func addAgent(f *explain.Facts, status *admin.Status) {
	if t := status.Table; t != nil {
		f.Meta.Connected, f.Meta.Kept = t.Connected, t.Kept
		if !t.Connected && !t.Since.IsZero() {
			f.Meta.Away = time.Since(t.Since)
		}
	}
	if status.State != "ready" {
		f.Meta.State = status.State
	}
	o := status.Settings
	f.Settings = explain.Settings{
		MaxAge: seconds(o.MaxTableAge), ConnectTimeout: seconds(o.ConnectTimeout), ConnectAttempts: o.ConnectAttempts,
		MaxFlows: o.MaxFlows, MaxPerRoute: o.MaxPerRoute, Path: o.Path, Off: map[string]string{},
	}
	for _, p := range status.Paths {
		if !p.On {
			f.Settings.Off[p.Name] = p.Why
		}
		f.Settings.Local = f.Settings.Local || p.On && p.Name == local.PathName
	}
}

// left is what the maps tell of a gateway that does not answer for some reason.
func left(from pinned, why error) (*admin.Status, error) {
	table, err := openTable(from)
	if err != nil {
		return nil, err
	}
	defer table.Close()
	r := mapReader{table: table}
	view, counts, err := r.read()
	if err != nil {
		return nil, err
	}
	switch alive, err := table.Alive(); {
	case err == nil && !alive:
		why = errEnded
	case err == nil && errors.Is(why, admin.ErrNoAgent):
		why = fmt.Errorf("%w (a process holds its maps: see its -admin-socket)", why)
	}
	m := &view.Meta
	s := &admin.Status{
		Instance: from.instance, State: admin.Silent, Why: why.Error(),
		Listeners: append([]netip.AddrPort{}, m.Listeners...), Paths: []admin.Path{}, Maps: []admin.Fill{}, Errors: []admin.Problem{},
	}
	if view.Table != nil {
		s.Table = &admin.Table{
			Version: m.Version, Source: m.Source, Index: m.Index, Age: time.Since(m.Written).Seconds(),
			Routes: m.Routes, Clusters: m.Clusters,
		}
		for _, f := range tableFill(*m, table.Store().Limits()) {
			s.Maps = append(s.Maps, admin.Fill(f))
		}
	}
	for _, c := range counts.Routes {
		s.Flows += int(c.Active)
		s.Begun += c.Flows
		s.Sent += c.Sent
		s.Received += c.Received
	}
	return s, nil
}

// silence tells on stderr, once, that what is shown is by the maps alone.
type silence struct {
	env  environment
	verb string
	told string
}

func (s *silence) tell(why string, written time.Duration) {
	if why != "" && why != s.told {
		fmt.Fprintf(s.env.stderr, "sluice %s: the gateway does not answer (%s): this is by its maps, with the table that it wrote %s ago\n", s.verb, why, age(written))
	}
	s.told = why
}

// of tells so of a table whose gateway has ended.
func (s *silence) of(t *loader.Table) {
	if alive, err := t.Alive(); err != nil || alive {
		return
	}
	if meta, err := mirror.ReadMeta(t.Store()); err == nil {
		s.tell(errEnded.Error(), time.Since(meta.Written))
	}
}
