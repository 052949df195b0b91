package main

import (
	"testing"

	"sluice/tests/harness"
)

// TestNothingSent: a flow that did not come to sending before the time was over waits
// for no count: the server tells none of nothing.
func TestNothingSent(t *testing.T) {
	at, _ := startServer(t)
	w, err := open(at, harness.Hello(plain.name, 0), command{op: opSink})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	l := &load{from: make(chan struct{})}
	l.ready.Add(1)
	close(l.from)
	l.over.Store(true)
	if err := l.bulk(w); err != nil {
		t.Error(err)
	}
}
