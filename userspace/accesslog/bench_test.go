package accesslog

import (
	"testing"
)

// BenchmarkEnded is what a line costs the loop that moves bytes. Most are
// dropped, as the log cannot keep up with a loop that does nothing else.
func BenchmarkEnded(b *testing.B) {
	l := start(b, "/dev/null", "json", quiet)
	f := carried(7)
	b.ReportAllocs()
	for b.Loop() {
		l.Ended(f)
	}
}

// BenchmarkLine is a line from end to end: queued, made and written.
func BenchmarkLine(b *testing.B) {
	for _, format := range []string{"json", "text"} {
		b.Run(format, func(b *testing.B) {
			out, err := open(temp(b), format, quiet)
			if err != nil {
				b.Fatal(err)
			}
			defer out.close()
			l := &Log{queue: make(chan entry, queueLength)}
			f := carried(7)
			b.ReportAllocs()
			for b.Loop() {
				l.Ended(f)
				e := <-l.queue
				l.put(out, &e)
				if out.full() {
					out.flush()
				}
			}
		})
	}
}

// BenchmarkLineAlone writes each line by itself, as when flows end seldom.
func BenchmarkLineAlone(b *testing.B) {
	out, err := open(temp(b), "json", quiet)
	if err != nil {
		b.Fatal(err)
	}
	defer out.close()
	e := newEntry(carried(7))
	b.ReportAllocs()
	for b.Loop() {
		out.line(&e)
		out.flush()
	}
}
