package tests

import (
	"errors"
	"fmt"
	"net"
	"testing"

	"sluice/tests/harness"
)

// whileLoaded runs change while a long flow is full of bytes each way and short
// ones come one after the other to two names, whose servers answer with their own
// digit: none may be cut, none may come to the other's server.
func whileLoaded(t *testing.T, s *site, change func(i int, routes harness.Routes)) {
	t.Helper()
	const otherName = "other.default.dc2.internal.test.consul"
	first, second := s.listen(t, serverPort+1), s.listen(t, serverPort+2)
	go answer(first, '1')
	go answer(second, '2')
	long := s.open(t) // by a table that has neither
	routes := harness.Routes{serverName: {first.Addr().String()}, otherName: {second.Addr().String()}}
	s.gateways[0].Reroute(routes)

	stop := make(chan struct{})
	transfer := func(from, to end) func() error {
		return func() error {
			var n int64
			got := make(chan error, 1)
			go func() {
				have, err := harness.ReceiveAll(to, from.seed)
				n = have
				got <- err
			}()
			sent, err := harness.SendUntil(stop, from, from.seed)
			if err = errors.Join(err, from.CloseWrite(), <-got); err == nil && n != sent {
				err = fmt.Errorf("%d bytes sent, %d received", sent, n)
			}
			return err
		}
	}
	short := func(name string, digit byte) func() error {
		return func() error { return s.askUntil(stop, harness.Hello(name, 0), digit) }
	}
	client, server := end{long.client, 1}, end{long.server, 2}
	loaded := make(chan error, 4)
	for _, load := range []func() error{
		transfer(client, server), transfer(server, client), short(serverName, '1'), short(otherName, '2'),
	} {
		go func() { loaded <- load() }()
	}
	for i := range 12 {
		change(i, routes)
		s.gateways[0].Reroute(routes)
	}
	close(stop)
	for range cap(loaded) {
		if err := <-loaded; err != nil {
			t.Error(err)
		}
	}
}

// askUntil opens flow after flow until it is told to stop, and expects each one's
// answer.
func (s *site) askUntil(stop <-chan struct{}, hello []byte, answer byte) error {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return nil
		default:
		}
		c, err := s.connect()
		if err != nil {
			return err
		}
		if err := ask(c, hello, answer); err != nil {
			return fmt.Errorf("flow %d, for server %c: %w", i, answer, err)
		}
	}
}

func ask(c net.Conn, hello []byte, answer byte) error {
	defer c.Close()
	if _, err := c.Write(hello); err != nil {
		return err
	}
	return harness.ReceiveBytes(c, []byte{answer})
}

func TestTableSwapsUnderLoad(t *testing.T) {
	eachPath(t, []layout{oneHop}, func(t *testing.T, s *site) {
		whileLoaded(t, s, func(i int, routes harness.Routes) {
			routes[fmt.Sprintf("filler-%d.test", i)] = routes[serverName]
		})
	})
}

// TestPolicyChangesUnderLoad has routes ask for the path and leave it to the
// gateway in turns.
func TestPolicyChangesUnderLoad(t *testing.T) {
	eachPath(t, []layout{oneHop}, func(t *testing.T, s *site) {
		s.anyPath = true
		turns := [2]string{"auto", s.path.name}
		if s.path.asks == "auto" {
			turns = [2]string{"splice", "auto"} // and not what it is already
		}
		whileLoaded(t, s, func(i int, _ harness.Routes) {
			s.gateways[0].Path = turns[i%2]
		})
	})
}
