package doctor

import (
	"context"
	"time"
)

// LocalCheck does for the local path what SockmapCheck does for sockmap, where somebody
// has asked for it.
func LocalCheck(h *Host, p *Plan, test func(context.Context) error) Check {
	return Check{Area: "paths", Name: "local", Run: func(ctx context.Context) []Line {
		switch {
		case !p.Local:
			return []Line{Good("", "not tried, by -local-acceleration off")}
		case p.kernelPath() == OK:
			return []Line{Good("", "not tried, by -path splice")}
		case h.Kernel.Level == Fail && !p.UnsafeKernel:
			return []Line{Bad(Warn, "", "see the line about the release", "not tried: this kernel is known to crash with it")}
		}
		start := time.Now()
		if err := test(ctx); err != nil {
			return []Line{Bad(Warn, "", "see Peers on the same host in README.md; or -local-acceleration off, as it is meanwhile", "%s", oneLine(err))}
		}
		return []Line{Good("", "self-test: bytes, ends and back-pressure are exact, in %v", time.Since(start).Round(time.Millisecond))}
	}}
}
