package local

import (
	"testing"

	"golang.org/x/sys/unix"

	"sluice/userspace/local"
	"sluice/userspace/poll"
	"sluice/userspace/rehearsal"
	"sluice/userspace/relay"
	"sluice/userspace/slot"
)

// BenchmarkPingPong is an exchange of 128 bytes between processes that wait for their
// sockets with poll(2), as those that the path is for do: by a connection of their own,
// and by flows over splice and over the local path.
func BenchmarkPingPong(b *testing.B) {
	b.Run("loopback", func(b *testing.B) {
		listen, err := rehearsal.Listen()
		if err != nil {
			b.Fatal(err)
		}
		defer unix.Close(listen)
		client, server, err := rehearsal.Connection(listen)
		if err != nil {
			b.Fatal(err)
		}
		if err := pingPong(b, client, server); err != nil {
			b.Error(err)
		}
		unix.Close(client)
		unix.Close(server)
	})
	b.Run("splice", func(b *testing.B) { throughFlow(b, "splice") })
	b.Run("local", func(b *testing.B) { throughFlow(b, "local") })
	b.Run("direct", func(b *testing.B) { throughFlow(b, "direct") })
}

// throughFlow is pingPong through a flow on that path.
func throughFlow(b *testing.B, path string) {
	kernel := load(b)
	engine := local.New(kernel)
	if path == "direct" {
		engine.Deliver(credit)
		path = "local"
	}
	err := rehearsal.Run(path, func(loop *poll.Loop) (rehearsal.Path, error) {
		splice, err := relay.New(loop, 0)
		if err != nil {
			return nil, err
		}
		if path == "splice" {
			return next{splice}, nil
		}
		return closing{engine.Path(loop, splice, next{splice}), splice}, nil
	}, []rehearsal.Check{{Name: b.Name(), Run: func(r *rehearsal.Rig) error {
		f, err := r.Connect()
		if err != nil {
			return err
		}
		if err := f.Carry(); err != nil {
			return err
		}
		return pingPong(b, f.Peers[0], f.Peers[1])
	}}})
	if err != nil {
		b.Error(err)
	}
	if path == "local" {
		messages, _ := kernel.Messages()
		b.ReportMetric(float64(messages[slot.MessageRedirected])/float64(b.N), "redirected/op")
		b.ReportMetric(float64(messages[slot.MessageDelivered])/float64(b.N), "delivered/op")
	}
}

func pingPong(b *testing.B, client, server int) error {
	for _, fd := range []int{client, server} {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return err
		}
	}
	const turns = 100 // before it counts
	message := rehearsal.Bytes(128)
	served := make(chan error, 1)
	go func() {
		for range turns + b.N {
			if err := turn(server, message, true); err != nil {
				served <- err
				return
			}
		}
		served <- nil
	}()
	for i := range turns + b.N {
		if i == turns {
			b.ResetTimer()
		}
		if err := turn(client, message, false); err != nil {
			return err
		}
	}
	b.StopTimer()
	return <-served
}

// turn is one end's part of an exchange.
func turn(fd int, message []byte, answer bool) error {
	if answer {
		if err := rehearsal.Expect(fd, message, false); err != nil {
			return err
		}
	}
	if err := rehearsal.Send(fd, message); err != nil {
		return err
	}
	if answer {
		return nil
	}
	return rehearsal.Expect(fd, message, false)
}
