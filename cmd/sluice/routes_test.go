package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/cli"

	"sluice/userspace/admission"
	"sluice/userspace/explain"
	"sluice/userspace/flow"
	"sluice/userspace/route"
	"sluice/userspace/static"
)

// fakeReader has the table of a static file, and counters that grow with each reading.
type fakeReader struct {
	facts     explain.Facts
	counts    []explain.Sample // the last one stays
	err       error
	sourceErr error
	from      pinned
	closed    bool
	reads     int
	read      chan struct{} // told of each reading
}

const meshFile = `
route "web.default.dc1.internal.x.consul" { cluster = "web.default.dc1.internal.x.consul" }
route "db.default.dc1.internal.x.consul" {
  cluster = "db"
  path    = "splice"
}
route "old.example.com" { refuse = "moved" }
cluster "web.default.dc1.internal.x.consul" {
  endpoint "10.0.0.1:20000" {}
  endpoint "10.0.0.2:20000" { health = "critical" }
}
cluster "db" {
  panic_threshold = -1
  endpoint "10.0.0.3:20000" { health = "critical" }
}
`

const webRoute = "web.default.dc1.internal.x.consul"

func newFakeReader(t *testing.T) *fakeReader {
	t.Helper()
	file := filepath.Join(t.TempDir(), "mesh.hcl")
	if err := os.WriteFile(file, []byte(meshFile), 0o600); err != nil {
		t.Fatal(err)
	}
	routes, clusters, err := static.Read(file, pathNames...)
	if err != nil {
		t.Fatal(err)
	}
	table, err := route.Replace(nil, "a file", routes, clusters)
	if err != nil {
		t.Fatal(err)
	}
	return &fakeReader{
		facts: explain.Facts{
			Table: table, Meta: explain.Meta{Version: 3, Source: "a file", Connected: true},
			Overrides: func(name string) route.Options {
				if name == webRoute {
					return route.Options{Path: "sockmap"}
				}
				return route.Options{}
			},
		},
		counts: []explain.Sample{
			sampleAt(1000, 10, 1<<20),
			sampleAt(1002, 30, 5<<20), // 10 flows and 2 MiB a second
		},
		read: make(chan struct{}, 100),
	}
}

// sampleAt is of a time in seconds.
func sampleAt(at int64, flows, sent uint64) explain.Sample {
	return explain.Sample{At: time.Unix(at, 0), Routes: map[string]explain.Counters{webRoute: {
		Active: 4, Flows: flows, Sent: sent, Received: 100, ConnectFailures: 7,
		Refused: map[flow.End]uint64{flow.NoEndpoint: 2, flow.LimitRoute: 1},
	}}}
}

func (r *fakeReader) open(p pinned) (tableReader, error) {
	r.from = p
	return r, nil
}

func (r *fakeReader) Read(ctx context.Context) (*explain.Facts, error) {
	if r.err != nil {
		return nil, r.err
	}
	f := r.facts
	f.Counts, _ = r.Counts(ctx)
	return &f, nil
}

func (r *fakeReader) Counts(context.Context) (explain.Sample, error) {
	i := min(r.reads, len(r.counts)-1)
	r.reads++
	r.read <- struct{}{}
	return r.counts[i], nil
}

func (r *fakeReader) Source(_ context.Context, address netip.Addr) (*admission.Standing, error) {
	s := admission.Standing{Address: address, Max: 3}
	if address == netip.MustParseAddr("10.0.0.66") {
		s.Refused, s.Network = "denied", netip.MustParsePrefix("10.0.0.64/26")
	}
	return &s, r.sourceErr
}

func (r *fakeReader) Close() error { r.closed = true; return nil }

// routesRun runs the verb on what the reader has.
func routesRun(r *fakeReader, variables map[string]string, args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	c := &routesCommand{env: tableEnv(&out, &errs, variables), open: r.open}
	status = c.Run(args)
	return status, out.String(), errs.String()
}

func tableEnv(out, errs *bytes.Buffer, variables map[string]string) environment {
	lookup := func(name string) (string, bool) { value, ok := variables[name]; return value, ok }
	return environment{stdout: out, stderr: errs, lookupEnv: lookup}
}

func TestRoutesTable(t *testing.T) {
	r := newFakeReader(t)
	status, stdout, stderr := routesRun(r, nil)
	want := `NAME                               CLUSTER  HEALTHY  PATH      FLOWS  TOTAL  NEW   SENT    RECEIVED  RATE      FAILED  REFUSED
db.default.dc1.internal.x.consul   db       0/1      splice    0      0      0/s   0B      0B        0B/s      0       -
old.example.com                    -        -        auto      0      0      0/s   0B      0B        0B/s      0       all: moved
web.default.dc1.internal.x.consul  (same)   1/2      sockmap*  4      30     10/s  5.0MiB  100B      2.0MiB/s  7       limit_route 1, no_endpoint 2
`
	if status != exitOK || stdout != want || stderr != "" {
		t.Errorf("status %d, stderr %q, stdout:\n%swant:\n%s", status, stderr, stdout, want)
	}
	if !r.closed {
		t.Error("the reader was not closed")
	}
}

func TestRoutesJSON(t *testing.T) {
	status, stdout, _ := routesRun(newFakeReader(t), nil, "-format=json", "web")
	var rows []explain.Row
	if err := json.Unmarshal([]byte(stdout), &rows); err != nil || status != exitOK {
		t.Fatalf("status %d, %v:\n%s", status, err, stdout)
	}
	if len(rows) != 1 || rows[0].Name != webRoute || rows[0].Rates == nil || rows[0].Rates.Flows != 10 {
		t.Errorf("rows %+v", rows)
	}
	if strings.Count(stdout, "\n") != 1 {
		t.Errorf("more than a line:\n%s", stdout)
	}
}

func TestRoutesChoice(t *testing.T) {
	for word, want := range map[string]int{"db": 1, "*.x.consul": 2, "old.example.com": 1, "WEB": 1} {
		status, stdout, _ := routesRun(newFakeReader(t), nil, "-format=json", word)
		var rows []explain.Row
		if err := json.Unmarshal([]byte(stdout), &rows); err != nil || status != exitOK || len(rows) != want {
			t.Errorf("%s: status %d, %v, %d rows, want %d", word, status, err, len(rows), want)
		}
	}
}

func TestRoutesNothing(t *testing.T) {
	empty, err := route.Replace(nil, "a file", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*fakeReader)
		args   []string
		stderr string
	}{
		{"near", nil, []string{"wbe"}, "sluice routes: no route has \"wbe\" in its name; near are:\nsluice routes: web.default.dc1.internal.x.consul\n"},
		{"not near", nil, []string{"frontend"}, "sluice routes: no route has \"frontend\" in its name\n"},
		{"pattern", nil, []string{"*.org"}, "sluice routes: no route has a name like \"*.org\"\n"},
		{"wrong pattern", nil, []string{"we?"}, "\"*\" for any\n"},
		{"no table", func(r *fakeReader) { r.facts.Table = nil }, nil, "sluice routes: there is no table yet\n"},
		{"no table for a name", func(r *fakeReader) { r.facts.Table = nil }, []string{"web"}, "sluice routes: there is no table yet\n"},
		{"no routes", func(r *fakeReader) { r.facts.Table = empty }, nil, "sluice routes: the table has no routes\n"},
		{"error", func(r *fakeReader) { r.err = errors.New("read map routes: no right") }, nil, "sluice routes: read map routes: no right\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newFakeReader(t)
			if c.change != nil {
				c.change(r)
			}
			status, stdout, stderr := routesRun(r, nil, c.args...)
			if status != exitError || stdout != "" || !strings.HasSuffix(stderr, c.stderr) {
				t.Errorf("status %d, stdout %q, stderr %q", status, stdout, stderr)
			}
			if !r.closed {
				t.Error("the reader was not closed")
			}
		})
	}
}

func TestRoutesUsage(t *testing.T) {
	for _, args := range [][]string{{"-format=yaml"}, {"web", "db"}, {"-nonsense"}, {"-watch=soon"}} {
		r := newFakeReader(t)
		if status, stdout, stderr := routesRun(r, nil, args...); status != exitUsage || stdout != "" || stderr == "" || r.reads > 0 {
			t.Errorf("%q: status %d, stdout %q, stderr %q, %d reads", args, status, stdout, stderr, r.reads)
		}
	}
	var out, errs bytes.Buffer
	c := &routesCommand{env: tableEnv(&out, &errs, nil), open: newFakeReader(t).open}
	if status := c.Run([]string{"-help"}); status != cli.RunResultHelp {
		t.Errorf("-help has status %d", status)
	}
	for _, want := range []string{"Usage: sluice routes", "-bpf-dir=<directory>", "-watch", "-format"} {
		if !strings.Contains(c.Help(), want) {
			t.Errorf("the help lacks %q", want)
		}
	}
}

// TestTablePins holds where the verbs read: as the gateway's own settings have it.
func TestTablePins(t *testing.T) {
	r := newFakeReader(t)
	routesRun(r, map[string]string{"SLUICE_INSTANCE": "east", "SLUICE_BPF_DIR": "/bpf"}, "-instance=west")
	if want := (pinned{"/bpf", "west", "/run/sluice/west.sock"}); r.from != want {
		t.Errorf("opened %+v, want %+v", r.from, want)
	}
	refused := errors.New("open maps of instance east: not permitted")
	var out, errs bytes.Buffer
	c := &routesCommand{env: tableEnv(&out, &errs, nil), open: func(pinned) (tableReader, error) { return nil, refused }}
	if status := c.Run(nil); status != exitError || errs.String() != "sluice routes: "+refused.Error()+"\n" {
		t.Errorf("status %d, stderr %q", status, errs.String())
	}
}

// TestRoutesWatch looks twice at routes that all go in between: that ends nothing.
func TestRoutesWatch(t *testing.T) {
	r := newFakeReader(t)
	l := &routesLook{reader: r, word: "web"}
	first, err := l.look(t.Context())
	if err != nil || len(first.(routesView)) != 1 {
		t.Fatalf("%v, %v", first, err)
	}
	r.counts = append(r.counts, sampleAt(1010, 70, 5<<20))
	second, err := l.look(t.Context())
	if err != nil || second.(routesView)[0].Rates.Flows != 5 {
		t.Fatalf("%+v, %v", second, err)
	}
	if r.facts.Table, err = route.Replace(r.facts.Table, "a file", nil, nil); err != nil {
		t.Fatal(err)
	}
	third, err := l.look(t.Context())
	if err != nil || len(third.(routesView)) != 0 {
		t.Fatalf("%v, %v", third, err)
	}
	b, err := json.Marshal(third)
	if err != nil || string(b) != "[]" {
		t.Errorf("%s, %v", b, err)
	}
	if len(r.read) != 4 {
		t.Errorf("%d readings, want two for the first look and one for each other", len(r.read))
	}
}

func TestRoutesLookCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l := &routesLook{reader: newFakeReader(t)}
	if v, err := l.look(ctx); err == nil {
		t.Errorf("%v after the end", v)
	}
}
