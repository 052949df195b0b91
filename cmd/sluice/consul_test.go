package main

import (
	"bytes"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/userspace/registration"
	"sluice/userspace/route"
	"sluice/userspace/snapshot"
)

// meshOf makes the gateway's part in Consul of a command line. No agent is asked.
func meshOf(t *testing.T, args ...string) (*mesh, *bytes.Buffer) {
	t.Helper()
	var set settings
	if err := set.flags().Parse(args); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	m, err := newMesh(&set, new(pins), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return m, &log
}

func tableOf(t *testing.T, name string) *route.Table {
	t.Helper()
	table, err := route.Replace(nil, "test", []*route.Route{{Name: name, Refuse: "a test"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// TestLastTable: the table on disk is served once, and not when Consul was quicker.
func TestLastTable(t *testing.T) {
	dir := t.TempDir()
	written := time.Now().Add(-time.Hour)
	listener := netip.MustParseAddrPort("127.0.0.1:8443")
	err := snapshot.Write(filepath.Join(dir, "table"), tableOf(t, "old.test"), snapshot.Meta{
		Source: "xds", Identity: "dc1/gw", Listeners: []netip.AddrPort{listener}, Written: written,
	})
	if err != nil {
		t.Fatal(err)
	}
	m, log := meshOf(t, "-state-dir", dir)
	last, meta := m.restore()
	if last == nil || last.Route("old.test") == nil {
		t.Fatalf("restored %v, log:\n%s", last, log)
	}
	var got []*route.Table
	publish := func(t *route.Table) { got = append(got, t) }
	m.serveLast(last, meta, publish)
	if len(got) != 1 || got[0] != last {
		t.Errorf("published %v", got)
	}
	if addrs := m.listeners(); len(addrs) != 1 || addrs[0] != listener {
		t.Errorf("listens on %v", addrs)
	}
	if text := log.String(); !strings.Contains(text, "serving the last one, from disk") || !strings.Contains(text, "age=1h") {
		t.Errorf("log:\n%s", text)
	}

	m, _ = meshOf(t, "-state-dir", dir)
	last, meta = m.restore()
	m.publish(tableOf(t, "new.test"), publish)
	m.serveLast(last, meta, publish)
	if len(got) != 2 || got[1].Route("new.test") == nil {
		t.Errorf("published %v", got)
	}
}

func TestNoLastTable(t *testing.T) {
	for _, c := range []struct {
		name, text string
		args       []string
	}{
		{"no directory", "no -state-dir", nil},
		{"nothing there", "", []string{"-state-dir", t.TempDir()}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("STATE_DIRECTORY", "")
			m, log := meshOf(t, c.args...)
			if last, _ := m.restore(); last != nil {
				t.Errorf("restored %v", last)
			}
			if !strings.Contains(log.String(), c.text) || c.text == "" && log.Len() > 0 {
				t.Errorf("log:\n%s", log)
			}
		})
	}
}

// TestListeners: the operator's addresses win over the service's, and without either
// there is nothing to listen on.
func TestListeners(t *testing.T) {
	service := registration.Service{ID: "gw", Datacenter: "dc1", Listeners: []registration.Listener{
		{Name: "default", Addr: netip.MustParseAddrPort("10.0.0.1:8443")},
		{Name: "lan", Addr: netip.MustParseAddrPort("10.0.0.1:8443")},
		{Name: "wan", Addr: netip.MustParseAddrPort("10.0.0.2:443")},
	}}
	own, _ := meshOf(t, "-listen", "127.0.0.1:1")
	own.found(service)
	if got := own.listeners(); len(got) != 1 || got[0].Port() != 1 {
		t.Errorf("with -listen: %v", got)
	}
	its, log := meshOf(t)
	its.found(service)
	if got := its.listeners(); len(got) != 2 || got[1].Port() != 443 {
		t.Errorf("without: %v", got)
	}
	if its.plan(snapshot.Meta{}); log.Len() > 0 {
		t.Errorf("log:\n%s", log)
	}
	service.Listeners = service.Listeners[:1]
	its.found(service)
	if !strings.Contains(log.String(), "restart to listen on them") {
		t.Errorf("log:\n%s", log)
	}
	none, log := meshOf(t)
	if none.plan(snapshot.Meta{}) || !strings.Contains(log.String(), "give -listen") {
		t.Errorf("log:\n%s", log)
	}
}
