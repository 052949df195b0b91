package flow

// Account counts what the flows of one route do. Its methods are called on the loops of
// the flows and must not block.
type Account interface {
	// RouteID is the number by which the kernel's programs count for the route; 0: they
	// do not.
	RouteID() uint32
	// ConnectFailed counts an attempt to connect to an endpoint that failed.
	ConnectFailed()
	// Moved counts bytes that have moved since it was called last: to upstream, and from
	// there.
	Moved(sent, received uint64)
	// Ended counts the flow's end, after which it is not heard of any more.
	Ended(End)
}
