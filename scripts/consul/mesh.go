package consul

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/hashicorp/consul/api"
)

// WriteConfig writes configuration entries. Those that another one needs come
// before it.
func (a *Agent) WriteConfig(ctx context.Context, entries ...api.ConfigEntry) error {
	for _, e := range entries {
		if _, _, err := a.client.ConfigEntries().Set(e, write(ctx)); err != nil {
			return fmt.Errorf("write %s %q: %w", e.GetKind(), e.GetName(), err)
		}
	}
	return nil
}

// DeleteConfig deletes a configuration entry; one that is not there is no error.
func (a *Agent) DeleteConfig(ctx context.Context, kind, name string) error {
	if _, err := a.client.ConfigEntries().Delete(kind, name, write(ctx)); err != nil {
		return fmt.Errorf("delete %s %q: %w", kind, name, err)
	}
	return nil
}

// Allow lets a service call another one; "*" is any. With ACLs nobody may call
// anybody otherwise. Intentions are those of the primary datacenter, for all.
func (a *Agent) Allow(ctx context.Context, from, to string) error {
	return a.intend(ctx, from, to, api.IntentionActionAllow)
}

// Deny forbids a service to call another one.
func (a *Agent) Deny(ctx context.Context, from, to string) error {
	return a.intend(ctx, from, to, api.IntentionActionDeny)
}

func (a *Agent) intend(ctx context.Context, from, to string, action api.IntentionAction) error {
	intention := &api.Intention{SourceName: from, DestinationName: to, Action: action}
	if _, err := a.client.Connect().IntentionUpsert(intention, write(ctx)); err != nil {
		return fmt.Errorf("%s that %s calls %s: %w", action, from, to, err)
	}
	return nil
}

// Roots are what the mesh trusts.
type Roots struct {
	TrustDomain string // "UUID.consul"
	Pool        *x509.CertPool
	PEM         []byte // of all roots, one after the other
}

// Roots returns the roots of the agent's mesh.
func (a *Agent) Roots(ctx context.Context) (*Roots, error) {
	list, _, err := a.client.Agent().ConnectCARoots(query(ctx))
	if err != nil {
		return nil, fmt.Errorf("read the mesh's roots: %w", err)
	}
	if len(list.Roots) == 0 || list.ActiveRootID == "" {
		return nil, errors.New("read the mesh's roots: there is no active one")
	}
	r := &Roots{TrustDomain: list.TrustDomain, Pool: x509.NewCertPool()}
	for _, root := range list.Roots {
		r.PEM = append(r.PEM, root.RootCertPEM...)
	}
	if !r.Pool.AppendCertsFromPEM(r.PEM) {
		return nil, fmt.Errorf("read the mesh's roots: no certificate in %q", r.PEM)
	}
	return r, nil
}

// SNI is the name by which sidecars of the trust domain call a service of a
// datacenter; the service may be a subset, "SUBSET.SERVICE".
func (r *Roots) SNI(service, datacenter string) string {
	return fmt.Sprintf("%s.default.%s.internal.%s", service, datacenter, r.TrustDomain)
}

// Leaf returns a certificate of the mesh for a service, which need not be
// registered, signed by the servers of the agent's datacenter.
func (a *Agent) Leaf(ctx context.Context, service string) (tls.Certificate, error) {
	leaf, _, err := a.client.Agent().ConnectCALeaf(service, query(ctx))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("get a leaf for %s: %w", service, err)
	}
	cert, err := tls.X509KeyPair([]byte(leaf.CertPEM), []byte(leaf.PrivateKeyPEM))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("read the leaf of %s: %w", service, err)
	}
	return cert, nil
}

// ClientTLS is the configuration with which a sidecar of the service calls the
// server name: it shows the service's leaf, and takes any service of the mesh. Who
// it was is the URI of the peer's certificate.
func (a *Agent) ClientTLS(ctx context.Context, service, sni string) (*tls.Config, error) {
	leaf, err := a.Leaf(ctx, service)
	if err != nil {
		return nil, err
	}
	roots, err := a.Roots(ctx)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{leaf},
		ServerName:   sni,
		// Leaves have no DNS names for the library to look at: all but the name
		// is verified below.
		InsecureSkipVerify: true,
		VerifyConnection:   roots.verify,
	}, nil
}

// verify checks that the peer shows a leaf of the mesh.
func (r *Roots) verify(state tls.ConnectionState) error {
	opts := x509.VerifyOptions{Roots: r.Pool, Intermediates: x509.NewCertPool()}
	for _, cert := range state.PeerCertificates[1:] {
		opts.Intermediates.AddCert(cert)
	}
	leaf := state.PeerCertificates[0]
	if _, err := leaf.Verify(opts); err != nil {
		return err
	}
	if len(leaf.URIs) != 1 || leaf.URIs[0].Host != r.TrustDomain {
		return fmt.Errorf("the peer's name is %v, not one of trust domain %s", leaf.URIs, r.TrustDomain)
	}
	return nil
}
