package gateway

import (
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
	f.Connect = time.Since(f.Start) - f.HelloIn
	c.tried, c.dialErr = nil, nil
	p := w.choose(f)
	f.Path = p.Name()
	c.stage = stageCarried
	c.carriage = p.Carry(f, c.down, c.up, c.over)
	c.checkAge()
}

// choose returns the first path that may carry f.
func (w *worker) choose(f *flow.Flow) Path {
	last := len(w.paths) - 1
	for _, p := range w.paths[:last] {
		if want := f.Route.Path; want != "" && want != "auto" && want != p.Name() {
			continue
		}
		if p.Admit(f) == nil {
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
