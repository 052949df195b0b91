package doctor

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	// rootTime is what the mesh's root should have left.
	rootTime = 30 * 24 * time.Hour
	// leafSkew is by how much Consul dates certificates back
	// (agent/connect/ca/provider_consul.go in its source): a clock further behind
	// takes new ones for not valid yet.
	leafSkew = time.Minute
	// clockSkew is worth a word: the times in logs do not fit together.
	clockSkew = 5 * time.Second
)

// roots looks at the certificates of the mesh's CA by this host's clock.
func (m *Mesh) roots(ctx context.Context) []Line {
	roots, _, err := m.Agent.API().Connect().CARoots(query(ctx))
	if err != nil {
		return []Line{Bad(Fail, "", "connect { enabled = true } in the servers' configuration", "the mesh has no CA: %s", brief(err))}
	}
	for _, r := range roots.Roots {
		if r.Active {
			return []Line{rootLine(r.RootCertPEM, roots.TrustDomain, time.Now())}
		}
	}
	return []Line{Bad(Fail, "", "consul connect ca get-config on a server tells more", "the mesh has no active root")}
}

func rootLine(text, domain string, now time.Time) Line {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return Bad(Warn, "", "consul connect ca get-config", "the root of %s is no PEM", domain)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return Bad(Warn, "", "consul connect ca get-config", "the root of %s cannot be read: %v", domain, err)
	}
	const rotate = "rotate it: consul connect ca set-config"
	day := cert.NotAfter.Format(time.DateOnly)
	switch {
	case now.Before(cert.NotBefore):
		return Bad(Fail, "", "set this host's clock: timedatectl set-ntp true", "the root of %s is not valid before %s, by this host's clock", domain, cert.NotBefore.Format(time.RFC3339))
	case now.After(cert.NotAfter):
		return Bad(Fail, "", rotate, "the root of %s has expired on %s", domain, day)
	case cert.NotAfter.Sub(now) < rootTime:
		return Bad(Warn, "", rotate, "the root of %s expires on %s", domain, day)
	}
	return Good("", "the root of %s is valid until %s", domain, day)
}

// clock compares this host's with that of the agent, which is often the same host's, and
// is not when CONSUL_HTTP_ADDR is another.
func (m *Mesh) clock(ctx context.Context) []Line {
	answer, err := m.headers(ctx)
	if err != nil {
		return []Line{Bad(Warn, "", advice(err), "cannot be told: %s", brief(err))}
	}
	theirs, err := http.ParseTime(answer.Get("Date"))
	if err != nil {
		return []Line{Bad(Warn, "", "see what is between here and the agent: it drops the header Date", "the agent does not tell the time")}
	}
	return []Line{clockLine(time.Since(theirs))}
}

// clockLine judges by how much this host's clock is ahead of the agent's, which tells
// whole seconds.
func clockLine(ahead time.Duration) Line {
	const remedy = "timedatectl set-ntp true, here and there"
	off := ahead.Abs().Round(time.Second)
	which := "ahead of"
	if ahead < 0 {
		which = "behind"
	}
	switch {
	case off > leafSkew:
		return Bad(Fail, "", remedy, "%v %s the agent's: new certificates of the mesh are not valid yet for one of them", off, which)
	case off > clockSkew:
		return Bad(Warn, "", remedy, "%v %s the agent's", off, which)
	}
	return Good("", "as the agent's, to within %v", clockSkew)
}

// headers are those of an answer that needs no token. Package api hides them.
func (m *Mesh) headers(ctx context.Context) (http.Header, error) {
	s := &m.Settings
	tls, err := api.SetupTLSConfig(&api.TLSConfig{
		Address: s.TLSServerName, CAFile: s.CAFile, CAPath: s.CAPath,
		CertFile: s.ClientCert, KeyFile: s.ClientKey, InsecureSkipVerify: s.SkipVerify,
	})
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{TLSClientConfig: tls, DisableKeepAlives: true}
	base := m.Agent.String()
	if path, ok := strings.CutPrefix(base, "unix://"); ok {
		base = "http://localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v1/status/leader", nil)
	if err != nil {
		return nil, err
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	return answer.Header, answer.Body.Close()
}
