// Package top is the live view of a gateway: its routes and flows, the busiest first,
// and what all of them moved in the last minute.
//
//	model.go   what is known and shown, and the keys
//	view.go    the screen
//	rows.go    flows summed up by route, and the order of both
//	spark.go   a line of bars
//	plain.go   the same for what is not a terminal: a line each turn
//
// A turn asks the agent once; while it has not answered, or the view is paused, it is
// not asked again.
package top
