package slot

import "sync/atomic"

// Local is one direction of a flow whose sender is on the gateway's host: the
// struct local_way of bpf/local.h.
type Local struct {
	// Written by the kernel.
	Redirected atomic.Uint64 // bytes that were handed to the target
	MovedAt    atomic.Uint64 // CLOCK_MONOTONIC_COARSE of the last ones, ns; 0: none came
	Delivered  atomic.Uint64 // bytes that were put into the receiver's own queue
	Queued     atomic.Uint64 // of those, since that was last seen empty
	_          [4]uint64

	// Written by userspace.
	Relayed  atomic.Uint64 // bytes that it has sent on since the sender was enrolled
	Target   atomic.Uint64 // cookie of the gateway's socket that they go to; 0: the way is nobody's
	Credit   atomic.Uint64 // bytes that may wait in the receiver's own queue; 0: put none there
	Receiver atomic.Uint64 // where the kernel has the receiver, by Enrol; 0: it is not enrolled
	_        [4]uint64
}

// Clear makes the way nobody's, for the next flow. Its target must be closed.
func (l *Local) Clear() {
	l.Target.Store(0)
	l.Credit.Store(0)
	l.Receiver.Store(0)
	l.Redirected.Store(0)
	l.Delivered.Store(0)
	l.Queued.Store(0)
	l.MovedAt.Store(0)
	l.Relayed.Store(0)
}

// Enrolled is what came of asking for a sender.
type Enrolled uint32

// The answers, in the order of bpf/local.h.
const (
	Enrolls    Enrolled = iota
	Absent              // the sender is not on this host, or not in this network namespace
	Closing             // it is not established
	ULP                 // it has another protocol on top, such as kernel TLS
	ZeroCopy            // it waits for notices that the kernel would not send
	Unaccepted          // no process has it yet
	Blocking            // its process may be woken from recv(2) without a reason
	Disagrees           // the two ends do not agree about what was sent
	NoOwn               // a socket of the gateway is not in the kernel's hands

	EnrolledReasons // their number
)

var enrolledNames = [EnrolledReasons]string{
	Enrolls:    "enrolled",
	Absent:     "absent",
	Closing:    "closing",
	ULP:        "ulp",
	ZeroCopy:   "zerocopy",
	Unaccepted: "unaccepted",
	Blocking:   "blocking",
	Disagrees:  "sequence",
	NoOwn:      "no_own",
}

// String is the answer as metrics have it.
func (e Enrolled) String() string {
	if e >= EnrolledReasons {
		return "invalid"
	}
	return enrolledNames[e]
}

// Message is what became of a message of a local sender, and why.
type Message uint32

// The reasons, in the order of their counters.
const (
	MessageRedirected Message = iota
	MessageUnknown            // over TCP: its flow is over, or its route is held
	MessageULP                // over TCP: kernel TLS has yet to encrypt it
	MessageBehind             // over TCP: others before it are not relayed yet
	MessageGone               // over TCP: the target is closed, or has ended its stream
	MessageForeign            // over TCP: somebody else's program has what is sent on the target
	MessageNoRoom             // over TCP: it does not fit the target's send buffer
	MessageRefused            // over TCP: the kernel would not redirect it
	MessageDelivered          // it went into the receiver's own queue

	Messages // their number
)

var messageNames = [Messages]string{
	MessageRedirected: "redirected",
	MessageUnknown:    "unknown",
	MessageULP:        "ulp",
	MessageBehind:     "behind",
	MessageGone:       "gone",
	MessageForeign:    "foreign",
	MessageNoRoom:     "no_room",
	MessageRefused:    "refused",
	MessageDelivered:  "delivered",
}

// String is the reason as metrics have it.
func (m Message) String() string {
	if m >= Messages {
		return "invalid"
	}
	return messageNames[m]
}
