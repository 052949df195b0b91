package flow

import "time"

// Carriage is a flow that a path carries. It belongs to the flow's loop.
type Carriage interface {
	// Active is the loop's time at which the flow last moved a byte.
	Active() time.Duration
	// Abort resets both sides and ends the flow for that reason.
	Abort(End)
}
