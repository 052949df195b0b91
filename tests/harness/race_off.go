//go:build !race

package harness

// Race tells whether this binary has the race detector.
const Race = false
