package consul

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/consul/api"
)

// Peer makes the clusters of two agents peers, each known to the other by its
// datacenter's name, and waits until they are. The dialer's servers connect to the
// acceptor's.
func Peer(ctx context.Context, acceptor, dialer *Agent) error {
	token, _, err := acceptor.client.Peerings().GenerateToken(ctx,
		api.PeeringGenerateTokenRequest{PeerName: dialer.Datacenter}, nil)
	if err != nil {
		return fmt.Errorf("make a peering token for %s: %w", dialer.Datacenter, err)
	}
	// Establish connects, which fails while there is no way there yet.
	err = dialer.eventually(ctx, "the peering to be established", func(ctx context.Context) error {
		_, _, err := dialer.client.Peerings().Establish(ctx,
			api.PeeringEstablishRequest{PeerName: acceptor.Datacenter, PeeringToken: token.PeeringToken}, nil)
		return err
	})
	if err != nil {
		return err
	}
	return errors.Join(
		acceptor.waitPeer(ctx, dialer.Datacenter),
		dialer.waitPeer(ctx, acceptor.Datacenter))
}

func (a *Agent) waitPeer(ctx context.Context, name string) error {
	return a.eventually(ctx, "peer "+name, func(ctx context.Context) error {
		peer, _, err := a.client.Peerings().Read(ctx, name, nil)
		switch {
		case err != nil:
			return err
		case peer == nil:
			return errors.New("there is no such peer")
		case peer.State != api.PeeringStateActive:
			return fmt.Errorf("it is %s", peer.State)
		}
		return nil
	})
}

// PeerThroughGateways has the servers of each agent's cluster reach peers through
// mesh gateways: the dialer's out through its own, the acceptor's in through those
// that are registered when it makes the token. So gateways come between this and
// Peer.
func PeerThroughGateways(ctx context.Context, agents ...*Agent) error {
	for _, a := range agents {
		mesh := &api.MeshConfigEntry{Peering: &api.PeeringMeshConfig{PeerThroughMeshGateways: true}}
		if err := a.WriteConfig(ctx, mesh); err != nil {
			return fmt.Errorf("%s: %w", a.Datacenter, err)
		}
	}
	return nil
}

// Export lets the peers named use services.
func (a *Agent) Export(ctx context.Context, services []string, peers ...string) error {
	entry := &api.ExportedServicesConfigEntry{Name: "default"}
	for _, name := range services {
		s := api.ExportedService{Name: name}
		for _, peer := range peers {
			s.Consumers = append(s.Consumers, api.ServiceConsumer{Peer: peer})
		}
		entry.Services = append(entry.Services, s)
	}
	return a.WriteConfig(ctx, entry)
}
