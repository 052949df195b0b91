package xds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/structpb"
)

// maxAnswer bounds an answer of the agent in bytes. The clusters of 10,000 services
// are 3 MB.
const maxAnswer = 256 << 20

var (
	errNewToken = errors.New("the token changed")
	errIdle     = errors.New("nothing was heard for long")
	errClosed   = errors.New("the agent ended the stream")
	errStuck    = errors.New("the agent does not read what it is sent")
)

// silence is the error of a stream that does not give its first answers.
type silence struct {
	after    time.Duration
	clusters bool // of the answers, that with clusters did come
}

func (e *silence) Error() string {
	if e.clusters {
		return fmt.Sprintf("the agent has sent no listener for %v", e.after)
	}
	return fmt.Sprintf("the agent has sent nothing for %v", e.after)
}

// stream is one ADS stream.
type stream struct {
	*running
	ads   discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	abort context.CancelCauseFunc // ends the stream for a reason
	token string                  // that it was begun with

	got      map[string]bool // types that were answered
	answered bool            // with clusters and listeners
	silentAt time.Time       // when it is given up unless answered
	idleAt   time.Time       // when it is begun anew if nothing comes
	tokenAt  time.Time       // when the token is looked at
	flushAt  time.Time       // when the burst of answers is over; zero if there is none
	burst    time.Time       // when that began
}

// stream runs one stream until it ends, and tells whether it gave its first
// answers.
func (r *running) stream(ctx context.Context) (answered bool, err error) {
	ctx, abort := context.WithCancelCause(ctx)
	defer abort(nil)
	x := &stream{running: r, abort: abort, got: map[string]bool{}}
	if x.token, err = r.readToken(); err != nil {
		return false, err
	}
	conn, err := r.dial()
	if err != nil {
		return false, fmt.Errorf("connect to the agent: %w", err)
	}
	defer conn.Close()
	if x.token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "x-consul-token", x.token)
	}
	if x.ads, err = discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx); err != nil {
		return false, err
	}
	answers, ended := make(chan *discoveryv3.DeltaDiscoveryResponse), make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ended <- receive(ctx, x.ads, answers)
	}()
	r.compiler.loss.Begin(r.compiler.table == nil)
	err = x.loop(ctx, answers, ended)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	abort(nil)
	<-done
	return x.answered, err
}

func (s *Source) readToken() (string, error) {
	if s.Token == nil {
		return "", nil
	}
	token, err := s.Token()
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	return token, nil
}

// dial makes a connection for one stream. A new one each time has no back-off of
// its own, looks the agent's name up again, and tries its addresses in an order of
// its own.
func (s *Source) dial() (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if s.TLS != nil {
		creds = credentials.NewTLS(s.TLS)
	}
	return grpc.NewClient(s.Address,
		grpc.WithTransportCredentials(creds),
		grpc.WithNoProxy(), // the agent is near, whatever HTTPS_PROXY says
		grpc.WithUserAgent("sluice"),
		grpc.WithDisableServiceConfig(), // from DNS
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"pick_first":{"shuffleAddressList":true}}]}`),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: s.times.connect}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: s.times.keepalive, Timeout: s.times.keepalive / 3}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
	)
}

// receive passes answers on until the stream ends.
func receive(ctx context.Context, ads discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient,
	answers chan<- *discoveryv3.DeltaDiscoveryResponse) error {
	for {
		a, err := ads.Recv()
		if errors.Is(err, io.EOF) {
			return errClosed
		}
		if err != nil {
			return err
		}
		select {
		case answers <- a:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// loop subscribes, and deals with answers and with what is due, until the stream
// ends.
func (x *stream) loop(ctx context.Context, answers <-chan *discoveryv3.DeltaDiscoveryResponse, ended <-chan error) error {
	now := time.Now()
	x.silentAt = now.Add(x.times.answer)
	x.idleAt = now.Add(x.times.idle)
	x.tokenAt = now.Add(x.times.token)
	for _, t := range subscribed {
		if err := x.subscribe(t); err != nil {
			return fmt.Errorf("subscribe: %w", or(ended, err))
		}
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(time.Until(x.due()))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-ended:
			return err
		case a := <-answers:
			if err := x.take(a, time.Now()); err != nil {
				return fmt.Errorf("acknowledge: %w", or(ended, err))
			}
		case <-timer.C:
			if err := x.tick(time.Now()); err != nil {
				return err
			}
		}
	}
}

// or is the error with which the stream ended, if a send failed for that: gRPC
// gives senders io.EOF, and the status to the receiver.
func or(ended <-chan error, sent error) error {
	if !errors.Is(sent, io.EOF) {
		return sent
	}
	return <-ended
}

// subscribe asks for all resources of a type, and says which are here already. The
// first message of the stream names the gateway.
func (x *stream) subscribe(kind string) error {
	req := &discoveryv3.DeltaDiscoveryRequest{
		TypeUrl:                 kind,
		InitialResourceVersions: maps.Clone(x.compiler.versions[kind]),
	}
	if kind == subscribed[0] {
		req.Node = x.node()
	}
	return x.send(req)
}

func (s *Source) node() *corev3.Node {
	fields := map[string]*structpb.Value{}
	for key, value := range map[string]string{"node_name": s.NodeName, "namespace": s.Namespace, "partition": s.Partition} {
		if value != "" {
			fields[key] = structpb.NewStringValue(value)
		}
	}
	return &corev3.Node{Id: s.NodeID, Metadata: &structpb.Struct{Fields: fields}}
}

// send waits for the agent's window, but not for ever.
func (x *stream) send(req *discoveryv3.DeltaDiscoveryRequest) error {
	watch := time.AfterFunc(x.times.answer, func() { x.abort(errStuck) })
	defer watch.Stop()
	return x.ads.Send(req)
}

// take makes an answer part of the mesh and acknowledges it.
func (x *stream) take(a *discoveryv3.DeltaDiscoveryResponse, now time.Time) error {
	x.compiler.take(a, now)
	x.compiler.builder.At("nonce " + a.GetNonce())
	if err := x.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: a.GetTypeUrl(), ResponseNonce: a.GetNonce()}); err != nil {
		return err
	}
	x.idleAt = now.Add(x.times.idle)
	x.got[a.GetTypeUrl()] = true
	if !x.answered && x.got[clusterType] && x.got[listenerType] {
		x.answer(now)
	}
	if x.flushAt.IsZero() {
		x.burst = now
	}
	x.flushAt = earlier(now.Add(x.times.quiet), x.burst.Add(x.times.burst))
	return nil
}

// answer notes that the stream works.
func (x *stream) answer(now time.Time) {
	x.answered = true
	x.compiler.loss.Answered(now)
	x.compiler.heard = true
	x.update(func(s *Status) {
		if !s.Connected {
			s.Connected, s.Since = true, now
		}
		s.Err = nil
	})
	x.Log.Info("xds: the agent answers", "agent", x.Address, "gateway", x.NodeID)
	x.running.answered()
}

// due is when tick has something to do.
func (x *stream) due() time.Time {
	at := earlier(x.idleAt, x.tokenAt)
	if !x.answered {
		at = earlier(at, x.silentAt)
	}
	if x.compiler.heard {
		at = earlier(at, x.compiler.due())
	}
	return earlier(at, x.flushAt)
}

// tick does what is due. The error ends the stream.
func (x *stream) tick(now time.Time) error {
	due := func(at time.Time) bool { return !at.IsZero() && !now.Before(at) }
	switch {
	case !x.answered && due(x.silentAt):
		return &silence{after: x.times.answer, clusters: x.got[clusterType]}
	case due(x.idleAt):
		return errIdle
	}
	if due(x.flushAt) || x.compiler.heard && due(x.compiler.due()) {
		x.flushAt = time.Time{}
		x.flush(now)
	}
	if due(x.tokenAt) {
		x.tokenAt = now.Add(x.times.token)
		if token, err := x.readToken(); err != nil {
			x.Log.Warn("xds: the token cannot be read again: the one in use stays", "err", err)
		} else if token != x.token {
			return errNewToken
		}
	}
	return nil
}
