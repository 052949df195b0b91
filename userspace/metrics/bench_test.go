package metrics

import (
	"testing"

	"sluice/userspace/flow"
)

func BenchmarkEnded(b *testing.B) {
	for name, f := range map[string]*flow.Flow{"carried": carried(), "refused": {End: flow.UnknownName}} {
		b.Run(name, func(b *testing.B) {
			m := new(world).metrics()
			b.ReportAllocs()
			for b.Loop() {
				m.Ended(f)
			}
		})
	}
}
