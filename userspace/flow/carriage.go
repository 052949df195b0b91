package flow

import "time"

// Carriage is a flow that a path carries. It belongs to the flow's loop.
type Carriage interface {
	// Active is the loop's time at which the flow last moved a byte.
	Active() time.Duration
	// Abort resets both sides and ends the flow for that reason.
	Abort(End)
	// Tally brings the flow's byte counters up to date, where they are not always.
	Tally()
}

// Watch is what accompanies a flow that a path carries. Each may be nil.
type Watch struct {
	// Quiet is called whenever what there was has been moved, unless the flow is over. It
	// may take the flow away, by Leave.
	Quiet func()
	// Unread tells whether the end of a way has to wait: the receiver has yet to read
	// what reached it past the path.
	Unread func(way int) bool
}

// Movable is a Carriage that another path can take its flow from.
type Movable interface {
	Carriage
	// Leave gives the flow up, unless now is not the moment: when the path itself
	// holds bytes of it, or one of its ends has come. After true the carriage is
	// no more, the sockets are the caller's, and whatever is unread in them is to
	// be moved by the next path.
	Leave() bool
	// Holds tells whether the path holds bytes of a way: from downstream (0), or from
	// upstream (1).
	Holds(way int) bool
}
