// Package local tests the local path with the real kernel: between sockets on
// loopback, and each fact about the kernel that the path is built on. Flows between
// processes, over IPv4 and IPv6 and from other namespaces, are in package tests. The
// tests need root.
package local

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/loader"
	"sluice/userspace/flow"
	"sluice/userspace/local"
	"sluice/userspace/poll"
	"sluice/userspace/rehearsal"
	"sluice/userspace/relay"
	"sluice/userspace/slot"
)

// patience is how long a test waits for what must happen.
const patience = 60 * time.Second

const (
	// flows is how many there is room for.
	flows = 16
	// credit is how many bytes may wait in a receiver's own queue.
	credit = 64 << 10
)

func load(t testing.TB) *loader.Local {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: it loads BPF programs")
	}
	if err := loader.Missing(loader.ProbeLocal()); err != nil {
		t.Fatal(err)
	}
	k, err := loader.LoadLocal(flows)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// rig is the path on a loop, between peers of this process.
type rig struct {
	*rehearsal.Rig
	t      testing.TB
	kernel *loader.Local
	engine *local.Engine
	past   slot.Message // what becomes of messages that go past TCP
}

// eachRig runs a test on a rig whose messages go to the gateway's other socket, and on
// one whose messages go to the receiver's own queue.
func eachRig(t *testing.T, path string, test func(*testing.T, *rig) error) {
	t.Helper()
	for _, past := range []slot.Message{slot.MessageRedirected, slot.MessageDelivered} {
		t.Run(past.String(), func(t *testing.T) {
			onRig(t, path, past, func(r *rig) error { return test(t, r) })
		})
	}
}

// onRig runs a test on a rig, and expects that nothing is left after it.
func onRig(t *testing.T, path string, past slot.Message, test func(*rig) error) {
	t.Helper()
	r := &rig{t: t, kernel: load(t), past: past}
	r.engine = local.New(r.kernel)
	if past == slot.MessageDelivered {
		r.engine.Deliver(credit)
	}
	err := rehearsal.Run(path, func(loop *poll.Loop) (rehearsal.Path, error) {
		splice, err := relay.New(loop, 0)
		if err != nil {
			return nil, err
		}
		return closing{r.engine.Path(loop, splice, next{splice}), splice}, nil
	}, []rehearsal.Check{{Name: t.Name(), Run: func(own *rehearsal.Rig) error {
		r.Rig = own
		return test(r)
	}}})
	if err != nil {
		t.Error(err)
	}
	if idle := r.engine.Idle(); idle != flows {
		t.Errorf("%d of %d pairs of ways are free", idle, flows)
	}
	eventually(t, "the senders to be gone", func() bool {
		n, err := r.kernel.Senders()
		return n == 0 && err == nil
	})
}

// begin makes a flow that takes turns until messages of both sides go past TCP.
func (r *rig) begin() (*rehearsal.Flow, error) {
	f, err := r.Connect()
	if err != nil {
		return nil, err
	}
	if err := f.Carry(); err != nil {
		return nil, err
	}
	return f, r.takeTurns(f)
}

// takeTurns goes on until messages of both sides go past TCP.
func (r *rig) takeTurns(f *rehearsal.Flow) error {
	b := rehearsal.Bytes(100)
	start := r.count(r.past)
	var err error
	eventually(r.t, "messages past TCP", func() bool {
		for i := range f.Peers {
			if err == nil {
				err = f.Pass(i, b)
			}
		}
		return err != nil || r.count(r.past) >= start+4
	})
	return err
}

// count is the program's counter of what became of messages.
func (r *rig) count(m slot.Message) uint64 {
	r.t.Helper()
	all, err := r.kernel.Messages()
	if err != nil {
		r.t.Fatal(err)
	}
	return all[m]
}

// next takes the flows that the path leaves.
type next struct{ *relay.Splice }

func (n next) Carry(f *flow.Flow, down, up poll.FD, over func(flow.End, string)) flow.Carriage {
	f.Path = n.Name()
	return n.Splice.Carry(f, down, up, over)
}

// closing is the path with the one under it.
type closing struct {
	*local.Path
	splice *relay.Splice
}

func (c closing) Close() { c.splice.Close() }

// eventually waits until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for start := time.Now(); !ok(); time.Sleep(time.Millisecond) {
		if time.Since(start) > patience {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// block makes a socket block, as a process that waits in recv(2) has it.
func block(fd int) error { return unix.SetNonblock(fd, false) }
