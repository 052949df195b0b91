// Package slot holds the layouts that the sockmap path shares with its program
// in the kernel: they are those of bpf/flow.h, in Go.
//
// A flow on that path has two ways, one for each of its sockets: a Way is what
// arrives on that socket and is to go out on the other. The kernel's program and
// userspace see the same memory, and each field has one writer, so that neither
// needs the other's leave to look. Package loader maps the memory and checks that
// the layouts agree.
package slot

import "sync/atomic"

// Way is one direction of a flow.
type Way struct {
	// Written by the kernel.
	Redirected atomic.Uint64 // bytes put on the peer's queue
	Passed     atomic.Uint64 // bytes left for userspace to read
	MovedAt    atomic.Uint64 // CLOCK_MONOTONIC_COARSE of the last ones, ns; 0: none came
	Next       atomic.Uint32 // sequence number expected next
	Base       atomic.Uint32 // the peer's sequence number of the way's first byte
	Marks      atomic.Uint32 // of the bits Seen, Based, Fin, Broken
	_          [7]uint32

	// Written by userspace.
	Drained atomic.Uint64 // of the passed bytes, those sent on to the peer
	Peer    atomic.Uint64 // cookie of the other socket
	Mode    atomic.Uint32 // a Mode
	Route   atomic.Uint32 // index of the policy
	Ring    atomic.Uint32 // index of the ring buffer for events
	Credit  atomic.Uint32 // the most that a policy can grant, bytes
	Traffic atomic.Uint32 // id of the route whose traffic it is; 0: it is not counted
	_       [7]uint32
}

// Clear makes the way nobody's, for the next flow. The kernel must not be able
// to reach it.
func (w *Way) Clear() {
	w.Mode.Store(Free)
	w.Redirected.Store(0)
	w.Passed.Store(0)
	w.MovedAt.Store(0)
	w.Next.Store(0)
	w.Base.Store(0)
	w.Marks.Store(0)
	w.Drained.Store(0)
	w.Peer.Store(0)
	w.Route.Store(0)
	w.Ring.Store(0)
	w.Credit.Store(0)
	w.Traffic.Store(0)
}

// What userspace allows on a way.
const (
	Free     uint32 = iota // it is nobody's
	Hold                   // leave all bytes to userspace
	Redirect               // move them to the peer
)

// What the kernel has seen on a way, as bits.
const (
	Seen   uint32 = 1 << iota // Next is set
	Based                     // Base is set
	Fin                       // the source has ended, and all before was counted
	Broken                    // bytes are missing: the flow must be reset
)

// Rule is what a policy says about its route.
type Rule uint32

// The rules. Off in policy 0 is for all routes.
const (
	Default Rule = iota // as policy 0 has it
	On
	Off
)

// Policy is a route's setting for flows that are in the kernel's hands. Policy 0
// is everybody's default.
type Policy struct {
	Rule   Rule
	Credit uint32 // bytes on their way to a receiver; 0: as policy 0 has it
}

// EventKind is what an event tells of a way.
type EventKind uint32

// The kinds of events.
const (
	PassedEvent EventKind = 1 + iota // bytes wait for userspace, where none did before
	BrokenEvent                      // the way was marked Broken
)

// Event is told once for every change.
type Event struct {
	Way  uint32 // its index
	Kind EventKind
}

// Reason is what became of a piece of stream, and why.
type Reason uint32

// The reasons, in the order of their counters.
const (
	Redirected  Reason = iota
	Unknown            // passed: a socket without a way
	Held               // passed: the way is on Hold
	SwitchedOff        // passed: by policy
	Behind             // passed: others before it are not drained yet
	NoPeer             // passed: the peer is not in the map
	Foreign            // passed: somebody else's program has what is sent on the peer
	Credit             // passed: enough is on its way to the receiver
	NoRoom             // passed: it does not fit the peer's send buffer
	Refused            // passed: the kernel would not redirect it
	Empty              // dropped: an end without bytes
	Overlap            // its head had been there before, and was cut off
	Duplicate          // dropped: all of it had been there before
	Gap                // dropped: bytes before it are missing
	Malformed          // dropped: its sequence numbers do not fit its length
	Untrimmed          // dropped: no memory to cut its head off
	AfterBroken        // dropped: the way was broken before
	EventLost          // an event found its ring full

	Reasons // their number
)

var reasonNames = [Reasons]string{
	Redirected:  "redirected",
	Unknown:     "unknown",
	Held:        "held",
	SwitchedOff: "off",
	Behind:      "behind",
	NoPeer:      "no_peer",
	Foreign:     "foreign",
	Credit:      "credit",
	NoRoom:      "no_room",
	Refused:     "refused",
	Empty:       "empty",
	Overlap:     "overlap",
	Duplicate:   "duplicate",
	Gap:         "gap",
	Malformed:   "malformed",
	Untrimmed:   "untrimmed",
	AfterBroken: "broken",
	EventLost:   "event_lost",
}

// String is the reason as metrics have it.
func (r Reason) String() string {
	if r >= Reasons {
		return "invalid"
	}
	return reasonNames[r]
}

// Source is a ring of events.
type Source interface {
	// FD is readable when there are events.
	FD() int
	// Next returns the next event, and false when there is none now.
	Next() (Event, bool, error)
	Close() error
}
