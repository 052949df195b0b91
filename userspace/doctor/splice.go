package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
	"sluice/userspace/poll"
	"sluice/userspace/relay"
)

// spliceBytes is more than a pipe holds.
const spliceBytes = 256 << 10

// SpliceCheck sends bytes through the splice path, both ways at the same time, between
// sockets on loopback.
func SpliceCheck() Check {
	return Check{Area: "paths", Name: "splice", Run: func(ctx context.Context) []Line {
		start := time.Now()
		if err := relayBytes(ctx); err != nil {
			return []Line{Bad(Fail, "", "see that loopback is up (ip link set lo up) and the limit of open files is not reached; strace -f -e trace=splice,pipe2 tells more",
				"self-test: %v", err)}
		}
		return []Line{Good("", "self-test: %d KiB each way and both ends, in %v", spliceBytes>>10, time.Since(start).Round(time.Millisecond))}
	}}
}

// relayBytes is the self-test.
func relayBytes(ctx context.Context) error {
	loop, err := poll.New()
	if err != nil {
		return err
	}
	path, err := relay.New(loop, 0)
	if err != nil {
		loop.Discard()
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- loop.Run() }()
	err = relayOn(ctx, loop, path)
	stop := loop.Do(context.WithoutCancel(ctx), func() {
		path.Close()
		loop.Stop()
	})
	return errors.Join(err, stop, <-ended)
}

// relayOn has the path carry one flow. No flow is left on it.
func relayOn(ctx context.Context, loop *poll.Loop, path *relay.Splice) error {
	var peers [2]net.Conn
	var own [2]int
	for i := range peers {
		var err error
		if peers[i], own[i], err = connect(ctx); err != nil {
			if i == 1 {
				unix.Close(own[0])
			}
			return fmt.Errorf("connect over loopback: %w", err)
		}
		defer peers[i].Close()
	}
	over := make(chan flow.End, 1)
	carriage, err := carry(ctx, loop, path, own, over)
	if err != nil {
		unix.Close(own[0])
		unix.Close(own[1])
		return fmt.Errorf("give the flow to the path: %w", err)
	}
	if err = exchange(ctx, peers); err == nil {
		select {
		case end := <-over:
			if end != flow.Closed {
				err = fmt.Errorf("the flow ended as %v, not as %v", end, flow.Closed)
			}
			return err
		case <-ctx.Done():
			err = fmt.Errorf("the flow does not end: %w", ctx.Err())
		}
	}
	return errors.Join(err, loop.Do(context.WithoutCancel(ctx), func() {
		if len(over) == 0 {
			carriage.Abort(flow.Killed)
		}
	}))
}

// carry gives both sockets to the path.
func carry(ctx context.Context, loop *poll.Loop, path *relay.Splice, own [2]int, over chan<- flow.End) (flow.Carriage, error) {
	var carriage flow.Carriage
	var failed error
	err := loop.Do(context.WithoutCancel(ctx), func() {
		var fds [2]poll.FD
		for i := range fds {
			var err error
			fds[i], err = loop.Add(own[i], poll.Stream, ignore{})
			failed = errors.Join(failed, err)
		}
		if failed == nil {
			carriage = path.Carry(new(flow.Flow), fds[0], fds[1], func(end flow.End, _ string) { over <- end })
		}
	})
	return carriage, errors.Join(err, failed)
}

// exchange sends other bytes each way, and the end, and wants them to arrive.
func exchange(ctx context.Context, peers [2]net.Conn) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(10 * time.Second)
	}
	results := make(chan error, 4)
	for i, from := range peers {
		to := peers[1-i]
		if err := from.SetDeadline(deadline); err != nil {
			return err
		}
		sent := randomBytes(spliceBytes)
		go func() {
			_, err := from.Write(sent)
			if err == nil {
				err = from.(*net.TCPConn).CloseWrite()
			}
			results <- err
		}()
		go func() {
			got, err := io.ReadAll(to)
			if err == nil && !bytes.Equal(got, sent) {
				err = fmt.Errorf("%d bytes came out as %d others", len(sent), len(got))
			}
			results <- err
		}()
	}
	var err error
	for range cap(results) {
		err = errors.Join(err, <-results)
	}
	return err
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// connect makes a connection over loopback: the peer's end, and the gateway's.
func connect(ctx context.Context) (peer net.Conn, own int, err error) {
	listen, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return nil, -1, err
	}
	defer unix.Close(listen)
	if err := errors.Join(unix.Bind(listen, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(listen, 1)); err != nil {
		return nil, -1, err
	}
	sa, err := unix.Getsockname(listen)
	if err != nil {
		return nil, -1, err
	}
	addr := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: sa.(*unix.SockaddrInet4).Port}
	peer, err = new(net.Dialer).DialContext(ctx, "tcp4", addr.String())
	if err != nil {
		return nil, -1, err
	}
	own, _, err = unix.Accept4(listen, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK) // it is there
	if err != nil {
		peer.Close()
		return nil, -1, err
	}
	return peer, own, nil
}

type ignore struct{}

func (ignore) Ready(poll.Events) {}
