package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"sluice/loader"
	"sluice/userspace/admin"
	"sluice/userspace/config"
	"sluice/userspace/explain"
	"sluice/userspace/mirror"
)

// mapReader reads a gateway's table from its pinned maps.
type mapReader struct {
	table  *loader.Table
	client *admin.Client
}

// openTable opens the maps of a gateway's table to read them.
func openTable(dir, instance string) (*loader.Table, error) {
	table, err := loader.ViewTable(dir, instance)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("no gateway %q has a table below %s: is it running, and may it pin there? (sluice check)", instance, dir)
	}
	return table, err
}

// openMaps opens the maps of a gateway for the verbs that show its table.
func openMaps(from pinned) (tableReader, error) {
	table, err := openTable(from.dir, from.instance)
	if err != nil {
		return nil, err
	}
	socket := cmp.Or(os.Getenv(config.EnvName("admin-socket")), admin.SocketOf(from.instance))
	return &mapReader{table: table, client: admin.NewClient(socket)}, nil
}

func (r *mapReader) Close() error {
	r.client.Close()
	return r.table.Close()
}

// Read returns all there is.
func (r *mapReader) Read(ctx context.Context) (*explain.Facts, error) {
	view, err := mirror.Read(r.table.Store())
	if err != nil {
		return nil, err
	}
	counts, err := r.sample(view)
	if err != nil {
		return nil, err
	}
	f := &explain.Facts{
		Table:     view.Table,
		Overrides: view.Policy,
		Counts:    counts,
		Meta:      explain.Meta{Version: view.Meta.Version, Source: view.Meta.Source, Age: time.Since(view.Meta.Written), Connected: true},
	}
	r.askAgent(ctx, f)
	return f, nil
}

// Counts returns only the counters.
func (r *mapReader) Counts(context.Context) (explain.Sample, error) {
	view, err := mirror.Read(r.table.Store())
	if err != nil {
		return explain.Sample{}, err
	}
	return r.sample(view)
}

// sample makes counters of a view. A gateway that is gone has no flows, though it could
// not count them down.
func (r *mapReader) sample(view *mirror.View) (explain.Sample, error) {
	alive, err := r.table.Alive()
	if err != nil {
		return explain.Sample{}, err
	}
	s := explain.Sample{At: time.Now(), Routes: map[string]explain.Counters{}}
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
const agentTime = time.Second

// askAgent adds what only the agent knows: whether Consul is heard, and which paths are
// off. When it does not answer, the maps say what they say.
func (r *mapReader) askAgent(ctx context.Context, f *explain.Facts) {
	ctx, cancel := context.WithTimeout(ctx, agentTime)
	defer cancel()
	status, err := r.client.Status(ctx)
	if err != nil {
		return
	}
	if t := status.Table; t != nil {
		f.Meta.Connected, f.Meta.Kept = t.Connected, t.Kept
		if !t.Connected && !t.Since.IsZero() {
			f.Meta.Away = time.Since(t.Since)
		}
	}
	f.Settings.Off = map[string]string{}
	for _, p := range status.Paths {
		if !p.On {
			f.Settings.Off[p.Name] = p.Why
		}
	}
}
