package gateway

import (
	"cmp"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
)

// established hands the flow to a path.
func (c *conn) established() {
	w, f := c.w, &c.flow
	w.loop.Cancel(&c.timer)
	if f.Cluster.SendProxy {
		if err := c.sendHeader(); err != nil {
			c.connectFailed(err)
			return
		}
	}
	if c.lowWater {
		// The least that is possible: it cannot fail.
		_ = unix.SetsockoptInt(c.down.Sys, unix.SOL_SOCKET, unix.SO_RCVLOWAT, 1)
	}
	resetOnExit(c.down.Sys)
	resetOnExit(c.up.Sys)
	f.Connect = time.Since(f.Start) - f.HelloIn
	c.tried, c.dialErr = nil, nil
	p := w.choose(f)
	f.Path = p.Name()
	c.stage = stageCarried
	c.carriage = p.Carry(f, c.down, c.up, c.over)
	c.checkAge()
}

// resetOnExit has the kernel reset a connection whose socket it closes because this
// process was killed. By itself it would often send an end of stream, as if all had
// been said; and where bytes wait in a sockmap, nothing at all for a minute, while the
// peer asks a window of zero to open.
func resetOnExit(fd int) {
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}

// choose returns the path that f's options name, or else the gateway's own choice, if
// it may carry f. Otherwise the last one does.
func (w *worker) choose(f *flow.Flow) Path {
	last := len(w.paths) - 1
	want := cmp.Or(f.Options.Path, w.g.cfg.Path)
	for _, p := range w.paths[:last] {
		if (want == "" || want == p.Name()) && p.Admit(f) == nil {
			return p
		}
	}
	return w.paths[last]
}

// over is called by the path when both sockets are closed.
func (c *conn) over(end flow.End, detail string) {
	c.account(end, detail)
	c.release()
}

// checkAge ends a flow that is idle or has lived too long, and otherwise comes
// back when it might be.
func (c *conn) checkAge() {
	cfg, now := &c.w.g.cfg, c.w.loop.Now()
	var next time.Duration
	if cfg.IdleTimeout > 0 {
		next = c.carriage.Active() + cfg.IdleTimeout
		if next <= now {
			c.carriage.Abort(flow.IdleTimeout)
			return
		}
	}
	if cfg.MaxLifetime > 0 {
		end := now + c.flow.Start.Add(cfg.MaxLifetime).Sub(c.w.loop.Clock(now))
		if end <= now {
			c.carriage.Abort(flow.LifetimeOver)
			return
		}
		if next == 0 || end < next {
			next = end
		}
	}
	if next > 0 {
		c.w.loop.After(&c.timer, next-now)
	}
}
