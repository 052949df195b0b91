package modes_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"

	"sluice/scripts/consul"
	"sluice/scripts/consul/consultest"
	"sluice/userspace/modes"
)

// mesh is a real Consul with callers in dc1.
type mesh struct {
	*testing.T
	*consul.Cluster
	client *api.Client // with no more rights than the README tells
	roots  *consul.Roots
}

// readRules are the rights that the verb needs.
const readRules = `service_prefix "" { policy = "read" }
node_prefix "" { policy = "read" }
peering = "read"
`

func newMesh(t *testing.T, shape func(context.Context, consul.Settings) (*consul.Cluster, error)) *mesh {
	t.Helper()
	m := &mesh{T: t, Cluster: consultest.Start(t, shape, consul.Settings{ACL: true})}
	token, err := m.Agents[0].NewToken(t.Context(), "modes", readRules)
	m.must(err)
	m.client, err = m.Agents[0].ClientWith(token)
	m.must(err)
	m.roots, err = m.Agents[0].Roots(t.Context())
	m.must(err)
	return m
}

func (m *mesh) must(err error) {
	m.Helper()
	if err != nil {
		m.Fatal(err)
	}
}

// eventually waits until try has nothing to complain about.
func (m *mesh) eventually(try func() string) {
	m.Helper()
	deadline := time.Now().Add(consul.Patience)
	for {
		complaint := try()
		if complaint == "" {
			return
		}
		if time.Now().After(deadline) {
			m.Fatal(complaint)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (m *mesh) addr(datacenter, host int, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(m.Loopback(datacenter, host), port)
}

// try waits until the call succeeds: while dc2 takes over the primary's ACL policies
// for the first time it refuses even the token of management now and then.
func (m *mesh) try(call func() error) {
	m.Helper()
	m.eventually(func() string {
		if err := call(); err != nil {
			return err.Error()
		}
		return ""
	})
}

// service registers an instance with a sidecar.
func (m *mesh) service(datacenter, host int, name string) {
	m.Helper()
	m.try(func() error {
		return m.Agents[datacenter-1].Register(m.Context(), consul.Service{
			Name: name, Addr: m.addr(datacenter, host, 9001), Sidecar: 19001,
		})
	})
}

// caller registers a service in dc1 whose sidecar is as change makes it.
func (m *mesh) caller(host int, name string, change func(*api.AgentServiceConnectProxyConfig)) {
	m.Helper()
	s := consul.Service{Name: name, Addr: m.addr(1, host, 9001), Sidecar: 19001}.Registration()
	change(s.Connect.SidecarService.Proxy)
	m.must(m.Agents[0].Client().Agent().ServiceRegister(s))
}

// gateway registers a mesh gateway; alive has something listen there.
func (m *mesh) gateway(datacenter int, alive bool) {
	m.Helper()
	lan := m.Gateway(datacenter)
	wan := netip.AddrPortFrom(lan.Addr(), lan.Port()+1)
	if alive {
		l, err := net.Listen("tcp", lan.String())
		m.must(err)
		m.Cleanup(func() { l.Close() })
	}
	m.try(func() error {
		return m.Agents[datacenter-1].RegisterMeshGateway(m.Context(), consul.MeshGateway{LAN: lan, WAN: wan.String()})
	})
}

func (m *mesh) read(service string) *modes.Report {
	m.Helper()
	ctx, cancel := context.WithTimeout(m.Context(), 30*time.Second)
	defer cancel()
	report, err := modes.Read(ctx, m.client, service)
	m.must(err)
	return report
}

// lines are what a report tells, in short.
func lines(r *modes.Report) []string {
	all := []string{}
	for _, u := range r.Upstreams {
		for _, w := range u.Ways {
			all = append(all, fmt.Sprintf("%s -> %s | %s | %s | %s | %s", u.Service, u.Label(), w.Target(), w.Mode, w.Decision, w.Through))
		}
	}
	slices.Sort(all)
	return all
}

// expect waits until the report tells the lines, and then compares every address
// in it with what the sidecars' own configuration has.
func (m *mesh) expect(want ...string) {
	m.Helper()
	slices.Sort(want)
	m.eventually(func() string { return cmp.Diff(want, lines(m.read(""))) })
	m.compare()
}

// warned waits until the report warns of just these.
func (m *mesh) warned(want ...string) {
	m.Helper()
	slices.Sort(want)
	m.eventually(func() string {
		return cmp.Diff(append([]string{}, want...), m.read("").Warnings)
	})
}

// compare is the proof: for each way, what an Envoy of that sidecar would dial is
// what the report says.
func (m *mesh) compare() {
	m.Helper()
	m.eventually(func() string {
		report := m.read("")
		ways, compared := map[string]map[string][]string{}, 0
		for _, u := range report.Upstreams {
			failover := slices.ContainsFunc(u.Ways, func(w modes.Way) bool { return w.Failover })
			for i, w := range u.Ways {
				if w.Through == modes.QueryResults || u.Others > 0 {
					continue
				}
				name := m.name(&w)
				if failover {
					// Clusters to fail over to are called by the first one, and numbered.
					name = fmt.Sprintf("%d~%s", i, m.name(&u.Ways[0]))
				}
				for _, sidecar := range u.Sidecars {
					id := sidecar[strings.Index(sidecar, "/")+1:]
					if ways[id] == nil {
						ways[id] = map[string][]string{}
					}
					ways[id][name] = w.Addresses
					compared++
				}
			}
		}
		for id, want := range ways {
			has := func(got map[string][]string) string {
				var diff string
				for name, addresses := range want {
					// An empty cluster may have no assignment at all.
					if len(addresses)+len(got[name]) > 0 {
						diff += cmp.Diff(addresses, got[name])
					}
					if diff != "" {
						return fmt.Sprintf("%s dials for %s (report -, agent +):\n%s", id, name, diff)
					}
				}
				return ""
			}
			got := dials(m.T, m.Agents[0], id, m.Token, func(got map[string][]string) bool { return has(got) == "" })
			if diff := has(got); diff != "" {
				return diff
			}
		}
		m.Logf("compared %d ways of %d sidecars with xDS", compared, len(ways))
		return ""
	})
}

// name is the server name of a way's target, by which clusters are called.
func (m *mesh) name(w *modes.Way) string {
	if w.Peer != "" {
		roots, err := m.Agents[1].Roots(m.Context())
		m.must(err)
		return fmt.Sprintf("%s.default.%s.external.%s", w.Service, w.Peer, roots.TrustDomain)
	}
	service := w.Service
	if w.Subset != "" {
		service = w.Subset + "." + service
	}
	return m.roots.SNI(service, w.Datacenter)
}
