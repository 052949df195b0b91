package main

import (
	"context"
	"fmt"

	"github.com/hashicorp/consul/api"

	"sluice/scripts/show"
)

// The config entries that decide the mode.
const (
	localForAll = `Kind = "proxy-defaults"
Name = "global"
MeshGateway { Mode = "local" }
`
	remoteForWeb = `Kind = "service-defaults"
Name = "web"
MeshGateway { Mode = "remote" }
`
)

func (s *site) local(ctx context.Context) error {
	s.Step("Mode local: the caller's own gateway, and from there the other one")
	via, err := s.decide(ctx, "local.hcl", localForAll, api.MeshGatewayModeLocal)
	if err != nil {
		return err
	}
	if via != s.one.lan.String() {
		return fmt.Errorf("mode local leads to %s, want dc1's gateway at %s", via, s.one.lan)
	}
	if err := s.called(ctx, via); err != nil {
		return err
	}
	return s.hops(ctx, s.one, s.two)
}

func (s *site) remote(ctx context.Context) error {
	s.Step("Mode remote: straight to the gateway of the other datacenter")
	via, err := s.decide(ctx, "remote.hcl", remoteForWeb, api.MeshGatewayModeRemote)
	if err != nil {
		return err
	}
	if via != s.two.wan.String() {
		return fmt.Errorf("mode remote leads to %s, want dc2's gateway at %s", via, s.two.wan)
	}
	before, err := show.ReadFlows(s.one.gateway.Access)
	if err != nil {
		return err
	}
	if err := s.called(ctx, via); err != nil {
		return err
	}
	if err := s.hops(ctx, s.two); err != nil {
		return err
	}
	after, err := show.ReadFlows(s.one.gateway.Access)
	if err == nil && len(after) != len(before) {
		err = fmt.Errorf("dc1's gateway was used in mode remote: %s", after[len(after)-1].Raw)
	}
	return err
}

// decide writes a config entry and shows what it changes.
func (s *site) decide(ctx context.Context, file, entry string, want api.MeshGatewayMode) (via string, err error) {
	if err := s.write(file, entry); err != nil {
		return "", err
	}
	s.Command("consul1", "cat", s.file(file))
	s.Quote(entry)
	if _, err := s.operate(ctx, s.one, "config", "write", s.file(file)); err != nil {
		return "", err
	}
	return s.mode(ctx, want)
}

// called calls api and checks who answered.
func (s *site) called(ctx context.Context, via string) error {
	s.Say("")
	s.Command("client", s.openssl(via)...)
	a, err := s.call(ctx, via)
	if err != nil {
		return err
	}
	want := answer{
		peer: fmt.Sprintf("spiffe://%s/ns/default/dc/dc2/svc/api", s.roots.TrustDomain),
		body: greeting,
	}
	if a != want {
		return fmt.Errorf("%q answered with %q, want %q with %q", a.peer, a.body, want.peer, want.body)
	}
	s.Quote(fmt.Sprintf("%s: %s", a.peer, a.body))
	s.Say("")
	return nil
}
