package xds

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"sluice/userspace/route"
)

// The defaults of Options.
const (
	DefaultAnswer = 10 * time.Second
	DefaultSettle = 5 * time.Second
	DefaultHold   = 10 * time.Minute
)

// Options say which agent to ask, and for which gateway.
type Options struct {
	Address string      // of the agent's gRPC port: "127.0.0.1:8502", "consul.example:8503", "unix:///run/consul/grpc.sock"
	TLS     *tls.Config // nil: plain text

	NodeID    string // id of the gateway's service
	NodeName  string // node that it is registered on; empty: the agent's own
	Namespace string // of the service, with Consul Enterprise
	Partition string

	// Token is the ACL token to use. It is asked for every stream, and in between
	// to see whether it is another one, upon which a new stream is begun. Nil: none.
	Token func() (string, error)

	// Last is the table of an earlier process, which stays until the agent has
	// answered, and by the rules of the package comment after that.
	Last *route.Table

	// Hidden tells whether there are services that the token sees no more, though it
	// did. The agent takes those away as if they had been deregistered, so it is asked
	// when clusters are lost, and while it is so, or cannot be told, they stay. Nil:
	// there never are.
	Hidden func(context.Context) (bool, error)

	Log *slog.Logger // nil: slog.Default

	Answer time.Duration // how long a stream may be silent before its first answers; 0: DefaultAnswer
	Settle time.Duration // how long after those a new stream is not believed what is missing; 0: DefaultSettle
	Hold   time.Duration // how long half of the table stays after it was lost; 0: DefaultHold
}

func (o *Options) check() error {
	if o.NodeID == "" {
		return errors.New("xds: no id of the gateway's service given")
	}
	if path, unix := strings.CutPrefix(o.Address, "unix://"); unix {
		if path == "" {
			return fmt.Errorf("xds: address %q of the agent has no path", o.Address)
		}
		return nil
	}
	host, port, err := net.SplitHostPort(o.Address)
	switch {
	case strings.Contains(o.Address, "://"):
		return fmt.Errorf("xds: address %q of the agent: want HOST:PORT or unix:///PATH", o.Address)
	case err != nil:
		return fmt.Errorf("xds: address of the agent: %w", err)
	case host == "" || port == "":
		return fmt.Errorf("xds: address %q of the agent lacks its host or its port", o.Address)
	}
	return nil
}

// timing is how long things take; tests are in more of a hurry.
type timing struct {
	answer time.Duration // Options.Answer
	settle time.Duration // Options.Settle
	hold   time.Duration // Options.Hold
	warm   time.Duration // a new cluster waits for its endpoints so long

	ask time.Duration // Hidden may take so long

	quiet time.Duration // a burst of answers is over when nothing came for so long,
	burst time.Duration // or when it has lasted so long

	token time.Duration // between looks at the token
	idle  time.Duration // a stream on which nothing came for so long is begun anew

	retry    time.Duration // longest wait before the first stream after one that failed
	retryMax time.Duration // what that doubles up to
	busy     time.Duration // least wait after an agent said that it has too many streams

	connect   time.Duration // to connect to the agent
	keepalive time.Duration // between pings of the connection
}

func (o *Options) timing() timing {
	or := func(d, fallback time.Duration) time.Duration {
		if d <= 0 {
			return fallback
		}
		return d
	}
	return timing{
		answer: or(o.Answer, DefaultAnswer),
		settle: or(o.Settle, DefaultSettle),
		hold:   or(o.Hold, DefaultHold),
		warm:   time.Second,
		ask:    2 * time.Second,

		quiet: 20 * time.Millisecond,
		burst: 200 * time.Millisecond,

		token: 5 * time.Second,
		idle:  10 * time.Minute,

		retry:    500 * time.Millisecond,
		retryMax: 8 * time.Second,
		busy:     10 * time.Second,

		connect:   5 * time.Second,
		keepalive: 30 * time.Second, // the agent's limit is one in 15 s: agent/grpc-external/server.go
	}
}
