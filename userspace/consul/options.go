package consul

import (
	"errors"
	"log/slog"
	"time"

	"github.com/hashicorp/consul/api"

	"sluice/userspace/route"
)

// The defaults of Options.
const (
	DefaultConnections    = 150
	DefaultConnectTimeout = 5 * time.Second // Consul's own for gateways
	DefaultSettle         = 5 * time.Second
	DefaultHold           = 10 * time.Minute
)

// Options say which agent to ask, and for which gateway.
type Options struct {
	Client *api.Client // without a limit of its own on the time of a request

	// Connections is how many queries may wait at the agent at a time, each on a
	// connection of its own: for plain HTTP. 0: DefaultConnections; -1: no limit, for
	// HTTP/2.
	Connections int

	Datacenter string // the agent's
	Domain     string // of its DNS names, such as "consul", which those of servers have too
	Partition  string // of the gateway, with Consul Enterprise; empty: default

	WANFederation bool            // servers federate through this gateway
	Discovery     route.Discovery // of host names
	Timeout       time.Duration   // to connect, where no resolver has one; 0: DefaultConnectTimeout

	// Last is the table of an earlier process, which stays until the agent has
	// answered, and by the rules of the package comment after that.
	Last *route.Table

	Log *slog.Logger // nil: slog.Default

	Settle time.Duration // how long Consul is not believed what is missing, after it was away; 0: DefaultSettle
	Hold   time.Duration // how long half of the table stays after it was lost; 0: DefaultHold
}

func (o *Options) check() error {
	switch {
	case o.Client == nil:
		return errors.New("consul: no client given")
	case o.Datacenter == "":
		return errors.New("consul: no datacenter given")
	case o.Domain == "":
		return errors.New("consul: no domain given")
	case o.Connections < -1:
		return errors.New("consul: number of connections is negative")
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Connections == 0 {
		o.Connections = DefaultConnections
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultConnectTimeout
	}
	return nil
}

// timing is how long things take; tests are in more of a hurry.
type timing struct {
	settle time.Duration // Options.Settle
	hold   time.Duration // Options.Hold

	quiet time.Duration // a burst of answers is over when nothing came for so long,
	burst time.Duration // or when it has lasted so long

	wait     time.Duration // how long a query waits for a change
	turn     time.Duration // the same where there are more than may wait
	answer   time.Duration // how long the agent may take for an answer that it has
	optional time.Duration // how long the first table waits for what may take long to be answered or refused

	poll time.Duration // between two looks at what cannot be waited for
	pace time.Duration // least time between two answers of a query

	retry    time.Duration // longest wait before a query that failed once is asked again
	retryMax time.Duration // what that doubles up to
}

func (o *Options) timing() timing {
	or := func(d, fallback time.Duration) time.Duration {
		if d <= 0 {
			return fallback
		}
		return d
	}
	t := timing{
		settle: or(o.Settle, DefaultSettle),
		hold:   or(o.Hold, DefaultHold),

		quiet: 20 * time.Millisecond,
		burst: 200 * time.Millisecond,

		wait:     5 * time.Minute,
		turn:     500 * time.Millisecond,
		answer:   15 * time.Second,
		optional: 2 * time.Second,

		poll: 5 * time.Second,
		pace: 50 * time.Millisecond,

		retry:    500 * time.Millisecond,
		retryMax: 8 * time.Second,
	}
	if o.Connections > 0 {
		t.wait = 15 * time.Second // or those that wait would keep their places long after others have to take turns
	}
	return t
}
