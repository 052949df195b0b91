package gateway

import (
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
	"sluice/userspace/poll"
	"sluice/userspace/proxyheader"
	"sluice/userspace/sni"
)

// readHello looks at what the client has sent so far and, when its hello is
// whole, goes on to dial. ev is what the loop has told, 0 for nothing.
func (c *conn) readHello(ev poll.Events) {
	seen, ok := c.peek()
	if !ok {
		return
	}
	if c.header {
		var n int
		if n, ok = c.readHeader(seen, ev); !ok {
			return
		}
		seen = seen[n:]
	}
	h := &c.w.hello
	need, refusal := h.Parse(seen, c.w.g.cfg.HelloMax)
	if refusal != sni.None {
		alert, _ := refusal.Alert()
		c.turnAway(helloEnds[refusal], "", alert)
		return
	}
	if need > 0 {
		c.await(need, ev)
		return
	}
	f := &c.flow
	f.HelloIn = time.Since(f.Start)
	f.ALPN, f.Version = string(h.ALPN()), h.Version
	c.lookUp(h.Name())
}

// helloEnds says how each refusal of the hello ends the flow.
var helloEnds = map[sni.Refusal]flow.End{
	sni.NotTLS:     flow.NotTLS,
	sni.BadHello:   flow.BadHello,
	sni.BadVersion: flow.BadVersion,
	sni.TooLarge:   flow.HelloTooLarge,
	sni.NoName:     flow.NoServerName,
}

// peek returns all that the client has sent, as far as it matters, and leaves
// it where it is. It reports false when there is nothing, or nothing to come.
func (c *conn) peek() ([]byte, bool) {
	n, _, err := unix.Recvfrom(c.down.Sys, c.w.scratch, unix.MSG_PEEK)
	switch {
	case err == unix.EAGAIN:
		return nil, false
	case err != nil:
		c.refuse(flow.ClientGone, err.Error())
		return nil, false
	case n == 0:
		c.refuse(flow.Probe, "")
		return nil, false
	}
	return c.w.scratch[:n], true
}

// await goes on waiting until need bytes are there. The kernel is told, so that
// a hello that trickles in does not wake us for each byte of it.
func (c *conn) await(need int, ev poll.Events) {
	if ev.Has(poll.RdHup | poll.Hup | poll.Err) {
		c.refuse(flow.ClientGone, "in the middle of its hello")
		return
	}
	c.lowWater = true
	if err := unix.SetsockoptInt(c.down.Sys, unix.SOL_SOCKET, unix.SO_RCVLOWAT, need); err != nil {
		c.refuse(flow.NoResources, "set SO_RCVLOWAT: "+err.Error())
	}
}

// readHeader takes the PROXY header off the stream. It returns its length once
// it is whole and the source it names is admitted.
func (c *conn) readHeader(seen []byte, ev poll.Events) (int, bool) {
	h, n, need, err := proxyheader.Parse(seen)
	if err != nil {
		c.refuse(flow.BadProxyHeader, err.Error())
		return 0, false
	}
	if need > 0 {
		c.await(need, ev)
		return 0, false
	}
	if h.Source.IsValid() {
		c.flow.Source = h.Source
	}
	if !c.admit() {
		return 0, false
	}
	// It was peeked at, so it is there: the read takes it whole.
	if got, _, err := unix.Recvfrom(c.down.Sys, make([]byte, n), 0); err != nil || got != n {
		c.refuse(flow.ClientGone, "in the middle of its PROXY header")
		return 0, false
	}
	c.header = false
	return n, true
}

// lookUp finds the route of a server name and goes on to dial its cluster.
func (c *conn) lookUp(name []byte) {
	f, parts := &c.flow, &c.w.g.parts
	table := parts.Table.Load()
	if table == nil {
		f.SNI = string(name)
		c.refuse(flow.NoTable, "")
		return
	}
	if parts.Outdated != nil {
		if why := parts.Outdated(); why != "" {
			f.SNI = string(name)
			c.refuse(flow.NoTable, why)
			return
		}
	}
	r, cluster := table.Lookup(name)
	if r == nil {
		f.SNI = string(name)
		c.refuse(flow.UnknownName, "")
		return
	}
	f.Route, f.Cluster = r, cluster
	c.booking.open(parts.Accounts, f)
	if f.SNI = r.Name; r.Name != string(name) {
		f.SNI = string(name)
	}
	if r.Refuse != "" {
		c.refuse(flow.RouteRefused, r.Refuse)
		return
	}
	f.Options = r.Options
	if parts.Overrides != nil {
		f.Options = parts.Overrides(r.Name).Or(r.Options)
	}
	if !parts.Gate.EnterRoute(r, f.Options.MaxFlows) {
		c.refuse(flow.LimitRoute, "")
		return
	}
	c.onRoute = true
	c.stage = stageConnect
	c.dial()
}
