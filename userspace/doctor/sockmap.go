package doctor

import (
	"context"
	"time"
)

// SockmapCheck loads the kernel's side of the sockmap path, has it carry bytes, and takes
// all of it away again, which test does. It is not done where no gateway would use it.
func SockmapCheck(h *Host, p *Plan, test func(context.Context) error) Check {
	return Check{Area: "paths", Name: "sockmap", Run: func(ctx context.Context) []Line {
		if p.kernelPath() == OK {
			return []Line{Good("", "not tried, by -path splice")}
		}
		if h.Kernel.Level == Fail && !p.UnsafeKernel {
			return []Line{Bad(p.kernelPath(), "", "see the line about the release", "not tried: this kernel is known to crash with it")}
		}
		start := time.Now()
		if err := test(ctx); err != nil {
			return []Line{Bad(p.kernelPath(), "", "mend what the line and those above name; or -path splice, which flows take meanwhile", "%s", oneLine(err))}
		}
		return []Line{Good("", "self-test: bytes, ends, overlaps and back-pressure are exact, in %v", time.Since(start).Round(time.Millisecond))}
	}}
}
