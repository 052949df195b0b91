package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/consul/api"

	"sluice/userspace/client"
	"sluice/userspace/registration"
)

// Mesh is the gateway's part in Consul, as its settings say.
type Mesh struct {
	Settings client.Settings
	Agent    *client.Agent // that the settings describe
	Service  registration.Settings
	Source   string // as -source: "xds", "catalog", or "auto"
	Running  bool   // the gateway of these settings runs

	once sync.Once
	met  meeting

	listening sync.Once
	addrs     []netip.AddrPort
	listenErr error
}

// meeting is what the other checks begin with: the agent, and the token that it is shown.
type meeting struct {
	lines []Line
	good  bool // the agent answers and knows the token: more can be asked
	acl   bool // ACLs are on
	local bool // the token is of this datacenter only

	self       self
	selfDenied bool
}

// self is what the agent says of itself.
type self struct {
	Config struct{ Datacenter, NodeName, Version string }
}

// soon is how long a token must last for nobody to have to think of it.
const soon = 24 * time.Hour

// MeshChecks ask Consul. When the agent does not answer, or does not know the token, its
// line is the only one: all others would say the same.
func MeshChecks(m *Mesh) []Check {
	check := func(name string, run func(context.Context) []Line) Check {
		return Check{Area: "consul", Name: name, Run: func(ctx context.Context) []Line {
			if !m.meet(ctx).good {
				return nil
			}
			return run(ctx)
		}}
	}
	checks := []Check{{Area: "consul", Name: "agent", Run: func(ctx context.Context) []Line { return m.meet(ctx).lines }}}
	for _, r := range rights {
		checks = append(checks, check(r.name, func(ctx context.Context) []Line {
			if !m.met.acl {
				return nil // the token's line says so
			}
			return []Line{r.check(m, ctx)}
		}))
	}
	return append(checks,
		check("gateway", m.gateway),
		check("xDS", m.xds),
		check("datacenters", m.datacenters),
		check("CA", m.roots),
		check("clock", m.clock),
	)
}

// meet asks the agent, once.
func (m *Mesh) meet(ctx context.Context) *meeting {
	m.once.Do(func() { m.met.begin(ctx, m) })
	return &m.met
}

func query(ctx context.Context) *api.QueryOptions { return new(api.QueryOptions).WithContext(ctx) }

func (t *meeting) begin(ctx context.Context, m *Mesh) {
	_, err := m.Agent.API().Raw().Query("/v1/agent/self", &t.self, query(ctx))
	switch {
	case denied(err):
		t.selfDenied = true
		t.lines = append(t.lines, Good("agent", "%s answers", m.Agent))
	case unknownToken(err): // it answers, and the token's line says the rest
		t.lines = append(t.lines, Good("agent", "%s answers", m.Agent))
	case err != nil:
		t.lines = []Line{Bad(Fail, "agent", advice(err), "%s: %s; nothing else was asked", m.Agent, brief(err))}
		return
	default:
		t.lines = append(t.lines, t.version(m))
	}
	leader, token := leader(ctx, m), t.token(ctx, m)
	t.lines = append(t.lines, leader, token)
	t.good = token.Level != Fail
}

func (t *meeting) version(m *Mesh) Line {
	c := t.self.Config
	found := fmt.Sprintf("%s: Consul %s, node %s of %s", m.Agent, c.Version, c.NodeName, c.Datacenter)
	major, rest, _ := strings.Cut(c.Version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, errA := strconv.Atoi(major)
	b, errB := strconv.Atoi(minor)
	if errA != nil || errB != nil || a > 1 || a == 1 && b >= 14 {
		return Good("agent", "%s", found)
	}
	return Bad(Warn, "agent", "update Consul", "%s; Sluice is not tested with versions before 1.14", found)
}

// leader asks whether the datacenter has one: without, the agent can answer nothing else.
func leader(ctx context.Context, m *Mesh) Line {
	var at string
	_, err := m.Agent.API().Raw().Query("/v1/status/leader", &at, query(ctx))
	switch {
	case err != nil:
		return Bad(Fail, "leader", advice(err), "%s", brief(err))
	case at == "":
		return Bad(Fail, "leader", "see the servers' logs; consul operator raft list-peers", "the datacenter has none")
	}
	return Good("leader", "%s", at)
}

func (t *meeting) token(ctx context.Context, m *Mesh) Line {
	const name = "token"
	shown, _ := m.Agent.Token()
	token, _, err := m.Agent.API().ACL().TokenReadSelf(query(ctx))
	problem := m.Agent.TokenProblem()
	switch {
	case status(err) == http.StatusUnauthorized && strings.Contains(err.Error(), "ACL support disabled"):
		return Good(name, "ACLs are off: none is needed")
	case shown == "" && (err == nil || unknownToken(err) || denied(err)):
		t.acl = true
		return Bad(Warn, name, "-token-file=FILE, or CONSUL_HTTP_TOKEN_FILE", "none is given: what everybody may counts, or the agent's default token")
	case unknownToken(err), status(err) == http.StatusNotFound:
		return Bad(Fail, name, "consul acl token create -policy-name=POLICY, and -token-file with what it says after SecretID",
			"the agent does not know the token: it is wrong, expired or deleted, or too new for the agent; nothing else was asked")
	case err != nil:
		return Bad(Fail, name, advice(err), "%s; nothing else was asked", brief(err))
	}
	t.acl, t.local = true, token.Local
	switch {
	case problem != nil:
		return Bad(Warn, name, "mend the file", "%s, but its file cannot be used: %v", token.AccessorID, problem)
	case token.ExpirationTime != nil && time.Until(*token.ExpirationTime) < soon:
		return Bad(Warn, name, "renew it, in -token-file: the gateway reads that again", "%s expires at %s",
			token.AccessorID, token.ExpirationTime.Format(time.RFC3339))
	}
	return Good(name, "%s", token.AccessorID)
}

// status is the HTTP status that the agent answered with, 0 if that is not the error.
func status(err error) int {
	var s api.StatusError
	if errors.As(err, &s) {
		return s.Code
	}
	return 0
}

// denied tells whether the token lacks a right. Some answers have the words with another
// status than 403.
func denied(err error) bool {
	return status(err) != 0 && strings.Contains(err.Error(), "Permission denied")
}

func unknownToken(err error) bool {
	return status(err) != 0 && strings.Contains(err.Error(), "ACL not found")
}

// advice is what would help against an error of a request.
func advice(err error) string {
	var op *net.OpError
	text := err.Error()
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return "start the agent (systemctl start consul), or give its address: -http-addr, CONSUL_HTTP_ADDR"
	case strings.Contains(text, "HTTP request to an HTTPS server"), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return "-http-addr=https://..., if the agent's port wants TLS"
	case strings.Contains(text, "server gave HTTP response to HTTPS client"):
		return "-http-addr=http://...: the agent's port speaks plain HTTP"
	case strings.Contains(text, "certificate"):
		return "-ca-file, -tls-server-name or -client-cert, as the agent's certificate needs"
	case status(err) == http.StatusTooManyRequests:
		return "limits.http_max_conns_per_client in the agent's configuration"
	case strings.Contains(text, "No cluster leader"), strings.Contains(text, "No known Consul servers"):
		return "see the servers, and consul members: the agent has none to ask"
	case errors.Is(err, context.DeadlineExceeded):
		return "see the agent's log: it hangs, or a firewall is in between"
	case status(err) >= http.StatusInternalServerError:
		return "see the agent's log"
	case errors.As(err, &op), status(err) == 0:
		return "-http-addr, CONSUL_HTTP_ADDR"
	}
	return "-http-addr: is it a Consul agent that answers there?"
}

// brief is an error's text in one line of bearable length.
func brief(err error) string {
	const most = 200
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}
