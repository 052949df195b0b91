package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"sluice/userspace/client"
	"sluice/userspace/xds"
)

// xds looks whether the agent's gRPC port answers: to the gateway, if it is registered,
// as it would when it starts; and otherwise to anybody.
func (m *Mesh) xds(ctx context.Context) []Line {
	if m.Source == "catalog" {
		return []Line{Good("", "not used, by -source catalog")}
	}
	level, instead := Fail, ""
	if m.Source != "xds" {
		level, instead = Warn, "; routes come from the catalog"
	}
	const ports = "ports { grpc = 8502 } or grpc_tls = 8503 in the agent's configuration; or -grpc-addr"
	address, config, err := m.Agent.XDS(ctx)
	if errors.Is(err, client.ErrNoGRPC) {
		return []Line{Bad(level, "", ports, "%v%s", client.ErrNoGRPC, instead)}
	}
	if err != nil {
		return []Line{Bad(level, "", ports, "%s%s", brief(err), instead)}
	}
	service, err := m.find(ctx)
	if err != nil {
		if err := dial(ctx, address, config); err != nil {
			return []Line{Bad(level, "", ports, "%s does not answer: %s%s", address, brief(err), instead)}
		}
		return []Line{Good("", "%s answers; the gateway is not registered, so no more was asked", address)}
	}
	err = xds.Probe(ctx, xds.Options{
		Address: address, TLS: config, Token: m.Agent.Token, NodeID: service.ID,
		Namespace: service.Namespace, Partition: service.Partition, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return []Line{Bad(level, "", "what the line says is probably wrong; or -grpc-addr, if that is not the agent's gRPC port", "%s: %s%s", address, brief(err), instead)}
	}
	return []Line{Good("", "%s answers for %q", address, service.ID)}
}

// dial wants HTTP/2 and, with a config, TLS to be spoken at an address.
func dial(ctx context.Context, address string, config *tls.Config) error {
	creds := insecure.NewCredentials()
	if config != nil {
		creds = credentials.NewTLS(config)
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(creds))
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.Connect()
	for state := conn.GetState(); state != connectivity.Ready; state = conn.GetState() {
		if state == connectivity.TransientFailure {
			return errors.New("no gRPC, or the wrong kind of TLS, is spoken there")
		}
		if !conn.WaitForStateChange(ctx, state) {
			return fmt.Errorf("connect: %w", ctx.Err())
		}
	}
	return nil
}
