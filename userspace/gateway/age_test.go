package gateway

import (
	"io"
	"net"
	"testing"
	"time"

	"sluice/userspace/flow"
)

// fate is a server that echoes, and tells how its connections ended.
func fate(t *testing.T) (addr func(*setup), ended chan error) {
	ended = make(chan error, 1)
	upstream := server(t, func(c *net.TCPConn) {
		_, err := io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
		ended <- err
	})
	return func(s *setup) { s.lead("api.test", upstream) }, ended
}

// A flow that is ended by the gateway is reset on both sides: an orderly end
// would tell them that they have seen everything.
func TestFlowsThatAreTooOld(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*setup)
		want   flow.End
	}{
		{"idle", func(s *setup) { s.IdleTimeout = 2 * brief }, flow.IdleTimeout},
		{"idle, before its lifetime is over", func(s *setup) { s.IdleTimeout, s.MaxLifetime = 2*brief, patience }, flow.IdleTimeout},
		{"lifetime over", func(s *setup) { s.MaxLifetime = 2 * brief }, flow.LifetimeOver},
		{"lifetime over, before it is idle", func(s *setup) { s.MaxLifetime, s.IdleTimeout = 2*brief, patience }, flow.LifetimeOver},
	} {
		t.Run(test.name, func(t *testing.T) {
			lead, ended := fate(t)
			r := start(t, func(s *setup) {
				lead(s)
				test.change(s)
			})
			h := hello(t, "api.test")
			c := r.open(h)
			c.expect(h)
			c.expectCut()
			if err := <-ended; err == nil {
				t.Error("the server got an orderly end, want a reset")
			}
			f := r.ends(1)[0]
			if f.End != test.want || f.Duration < 2*brief {
				t.Errorf("ended as %v after %v, want %v after %v", f.End, f.Duration, test.want, 2*brief)
			}
			if n := uint64(len(h)); f.Sent.Load() != n || f.Received.Load() != n {
				t.Errorf("%d bytes sent, %d received, want %d", f.Sent.Load(), f.Received.Load(), n)
			}
		})
	}
}

// A flow on which something moves is not idle, and one that is half closed may
// be busy the other way.
func TestBusyFlowsAreNotIdle(t *testing.T) {
	const idle = 500 * time.Millisecond
	for _, half := range []bool{false, true} {
		// A machine that is itself idle for so long proves nothing: another try.
		for try := 1; !staysBusy(t, idle, half); try++ {
			if try == 10 {
				t.Fatal("this machine is too slow to keep a flow busy")
			}
		}
	}
}

// staysBusy has bytes move for three times the idle timeout, only from the
// server if the client has closed its half. It is false when they came too slow.
func staysBusy(t *testing.T, idle time.Duration, half bool) bool {
	beat := make(chan struct{})
	upstream := server(t, func(c *net.TCPConn) {
		for range beat {
			c.Write([]byte("x"))
		}
	})
	r := start(t, func(s *setup) {
		s.IdleTimeout = idle
		s.lead("api.test", upstream)
	})
	c := r.open(hello(t, "api.test"))
	if half {
		c.CloseWrite()
	}
	last, slow := time.Now(), false
	for end := last.Add(3 * idle); time.Now().Before(end) && !slow; {
		beat <- struct{}{}
		_, err := c.Read(make([]byte, 1))
		slow = time.Since(last) > idle/2
		if last = time.Now(); err != nil && !slow {
			t.Errorf("the busy flow (half closed: %t) ended: %v", half, err)
			slow = false
			break
		}
		time.Sleep(idle / 50)
	}
	close(beat)
	c.Close()
	r.ends(1)
	r.stop()
	return !slow
}
