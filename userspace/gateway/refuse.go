package gateway

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
	"sluice/userspace/sni"
)

const (
	// lingerTime and lingerBytes bound how long a refused client is listened to.
	// Closing with bytes unread sends a reset, and a reset that overtakes the
	// alert in the client's kernel takes it away.
	lingerTime  = 2 * time.Second
	lingerBytes = 256 << 10
)

// alerts says what TLS has to tell a client of each refusal after its hello; for
// the hello itself package sni does. Sources that are not to get an answer have
// none: they are reset.
var alerts = map[flow.End]byte{
	flow.UnknownName:   sni.AlertUnrecognizedName,
	flow.RouteRefused:  sni.AlertAccessDenied,
	flow.NoTable:       sni.AlertInternalError,
	flow.LimitRoute:    sni.AlertInternalError,
	flow.NoEndpoint:    sni.AlertInternalError,
	flow.ConnectFailed: sni.AlertInternalError,
	flow.NoResources:   sni.AlertInternalError,
	flow.Draining:      sni.AlertInternalError,
}

// refuse ends a connection that no path carries.
func (c *conn) refuse(end flow.End, detail string) {
	c.turnAway(end, detail, alerts[end])
}

// turnAway ends a connection, with an alert if there is one (not 0).
func (c *conn) turnAway(end flow.End, detail string, alert byte) {
	c.closeUpstream()
	c.account(end, detail)
	if !c.down.Valid() || alert == 0 && end != flow.NotTLS {
		c.release()
		return
	}
	if alert != 0 {
		// Seven bytes into an empty send buffer: if they do not go, nobody is there.
		_, _ = unix.SendmsgN(c.down.Sys, sni.AppendAlert(nil, alert), nil, nil, unix.MSG_NOSIGNAL)
	}
	_ = unix.Shutdown(c.down.Sys, unix.SHUT_WR)
	c.stage, c.left = stageLinger, lingerBytes
	c.w.loop.After(&c.timer, lingerTime)
	c.discard()
}

// discard reads what a refused client still sends, until it has closed.
func (c *conn) discard() {
	for c.left > 0 {
		n, _, err := unix.Recvfrom(c.down.Sys, c.w.scratch, 0)
		if err == unix.EAGAIN {
			return
		}
		if err != nil || n == 0 {
			break
		}
		c.left -= n
	}
	c.release()
}

// lacksResources tells errors of this host's limits from those of the network.
// Ports can run out for one endpoint only (EADDRNOTAVAIL): the next may do.
func lacksResources(err error) bool {
	for _, errno := range []unix.Errno{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
