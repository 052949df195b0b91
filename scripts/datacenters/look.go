package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"sluice/scripts/consul"
	"sluice/scripts/show"
	"sluice/userspace/modes"
	"sluice/userspace/route"
	"sluice/userspace/snapshot"
)

// passing waits until the datacenter's Consul counts its gateway among the healthy:
// it looks every ten seconds.
func (s *site) passing(ctx context.Context, dc *datacenter) error {
	return eventually(ctx, dc.name+"'s gateway to be passing in Consul", func() (bool, error) {
		list, _, err := dc.agent.Client().Health().Service(service, "", true, nil)
		return len(list) == 1, err
	})
}

// table waits until the gateway's table on disk leads the name to the endpoint, which
// is healthy, and shows the table.
func (s *site) table(ctx context.Context, dc *datacenter, name string, endpoint netip.AddrPort) error {
	path := filepath.Join(dc.state, "table")
	var lines []string
	err := eventually(ctx, fmt.Sprintf("%s's gateway to have a route from %s to %s", dc.name, name, endpoint), func() (bool, error) {
		t, _, err := snapshot.Read(path)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		} else if err != nil {
			return false, err
		}
		lines = routes(t)
		return slices.Contains(lines, fmt.Sprintf("%s -> %s %s", name, endpoint, route.Passing)), nil
	})
	if err != nil {
		return err
	}
	s.Say("   In %s:", s.Short(path))
	s.Quote(strings.Join(lines, "\n"))
	return nil
}

// routes are the routes of a table, a line for each.
func routes(t *route.Table) []string {
	var lines []string
	for r := range t.Routes() {
		line := r.Name + " ->"
		if c := t.Cluster(r.Cluster); c != nil {
			for _, e := range c.Endpoints {
				line += fmt.Sprintf(" %s %s", e, e.Health)
			}
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

// eventually waits for what Consul does in its own time.
func eventually(ctx context.Context, what string, ask func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, consul.Patience)
	defer cancel()
	for {
		if ok, err := ask(); err != nil {
			return fmt.Errorf("wait for %s: %w", what, err)
		} else if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// mode waits until "sluice modes" has the mode for web's upstream, shows what it
// prints, and returns the address at which it says to connect.
func (s *site) mode(ctx context.Context, want api.MeshGatewayMode) (string, error) {
	args := append([]string{s.sluice, "modes"}, s.one.reach()...)
	host := s.lab.NS("gateway1")
	var addresses []string
	err := eventually(ctx, "web's upstream to have mode "+string(want), func() (bool, error) {
		text, err := host.Output(ctx, args[0], append(args[1:], "-format", "json", "web")...)
		if err != nil {
			return false, err
		}
		var report modes.Report
		if err := json.Unmarshal([]byte(text), &report); err != nil {
			return false, err
		}
		if len(report.Upstreams) != 1 || len(report.Upstreams[0].Ways) != 1 {
			return false, nil
		}
		way := report.Upstreams[0].Ways[0]
		addresses = way.Addresses
		return way.Mode == want && len(addresses) == 1, nil
	})
	if err != nil {
		return "", err
	}
	args = append(args, "web")
	s.Command(host.Name, args...)
	text, err := host.Output(ctx, args[0], args[1:]...)
	if err != nil {
		return "", err
	}
	s.Quote(text)
	return addresses[0], nil
}

// hops shows the next flow of each gateway's access log, and checks that it is the
// one to api and that all carried the same bytes.
func (s *site) hops(ctx context.Context, through ...*datacenter) error {
	var flows []*show.Flow
	head := fmt.Sprintf("   %-9s", "")
	for _, dc := range through {
		f, err := dc.gateway.Flow(ctx)
		if err != nil {
			return err
		}
		if f.SNI != s.roots.SNI("api", "dc2") || f.Sent == 0 || f.Received == 0 {
			return fmt.Errorf("%s's gateway logged another flow than the one to api: %s", dc.name, f.Raw)
		}
		flows = append(flows, f)
		head += fmt.Sprintf("  %-37s", dc.gateway.Name+"'s access log")
	}
	for _, f := range flows[1:] {
		if f.Sent != flows[0].Sent || f.Received != flows[0].Received {
			return fmt.Errorf("the two hops of one connection differ in bytes:\n  %s\n  %s", flows[0].Raw, f.Raw)
		}
	}
	s.Say("%s", strings.TrimRight(head, " "))
	for _, key := range []string{"source", "sni", "route", "endpoint", "path", "sent", "received", "reason"} {
		line := fmt.Sprintf("   %-9s", key)
		for _, f := range flows {
			line += fmt.Sprintf("  %-37s", s.Field(f, key))
		}
		s.Say("%s", strings.TrimRight(line, " "))
	}
	return nil
}

// said shows the messages of a gateway's log that have those texts, in this order, of
// which none may be missing.
func (s *site) said(g *show.Gateway, texts ...string) error {
	log, err := os.ReadFile(g.Log)
	if err != nil {
		return err
	}
	s.Say("   %s's log:", g.Name)
	for line := range strings.Lines(string(log)) {
		var entry struct{ Msg string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			return fmt.Errorf("%s: %w: %s", g.Log, err, line)
		}
		if len(texts) > 0 && strings.Contains(entry.Msg, texts[0]) {
			s.Quote(entry.Msg)
			texts = texts[1:]
		}
	}
	if len(texts) > 0 {
		return fmt.Errorf("%s does not say %q", g.Log, texts[0])
	}
	return nil
}
