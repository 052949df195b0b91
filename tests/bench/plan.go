package main

import (
	"time"

	"sluice/tests/bench/figure"
)

// turn is one contender at one workload in one round.
type turn struct {
	round int
	w     workload
	who   contender
}

// plan are all turns of a run. Contenders alternate within a round, and who begins
// rotates with rounds and workloads, so that nobody always comes after the same one.
func plan(rounds int, work []workload, all []contender) []turn {
	var turns []turn
	for round := range rounds {
		for i, w := range work {
			for _, c := range rotate(takers(all, w), round+i) {
				turns = append(turns, turn{round, w, c})
			}
		}
	}
	return turns
}

// takers are those who take part in a workload.
func takers(all []contender, w workload) []contender {
	var some []contender
	for _, c := range all {
		if c.at(w) {
			some = append(some, c)
		}
	}
	return some
}

// rotate returns a list that begins with the n-th and goes round.
func rotate[T any](list []T, n int) []T {
	if len(list) == 0 {
		return nil
	}
	n %= len(list)
	return append(append([]T{}, list[n:]...), list[:n]...)
}

// takes is about how long a turn takes, of which the load is only a part.
func (t turn) takes(load time.Duration) time.Duration {
	const around = 120 * time.Millisecond // processes that start, bytes that are checked
	each := 100 * time.Microsecond        // flows that are opened
	switch t.w.Kind {
	case figure.Iperf, figure.Requests, figure.Connections:
		load = max(load, time.Second) + around // they round up, and end slowly
	}
	return load + around + time.Duration(t.w.Flows)*each
}

// left is how long the rest will take, when the part that is done, by estimate, took so
// long in truth.
func left(done, all, took time.Duration) time.Duration {
	if done <= 0 {
		return all
	}
	return time.Duration(float64(all-done) * float64(took) / float64(done))
}
