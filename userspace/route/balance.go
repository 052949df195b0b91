package route

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sort"
	"sync/atomic"
)

// balance is what Pick works on: the usable endpoints laid side by side on a
// line, each as long as its weight. A number on the line is an endpoint.
type balance struct {
	policy    Policy
	endpoints []*Endpoint
	ends      []uint32       // where each endpoint's piece of the line ends
	step      uint64         // from one round-robin pick to the next, modulo the line's length
	turn      *atomic.Uint64 // round-robin picks so far; lives on in the next table
}

func newBalance(c *Cluster, turn *atomic.Uint64) *balance {
	b := &balance{policy: c.Policy, turn: turn}
	b.endpoints, _ = c.Usable()
	b.ends = make([]uint32, len(b.endpoints))
	var divisor uint64
	for i, e := range b.endpoints {
		b.ends[i] = uint32(e.Weight * c.hosts(e))
		divisor, _ = euclid(uint64(b.ends[i]), divisor)
	}
	var end uint32
	for i, weight := range b.ends {
		end += weight / uint32(divisor)
		b.ends[i] = end
	}
	b.step = stride(uint64(end), uint64(len(b.endpoints)))
	return b
}

// stride is how far apart on a line the picks of a round robin are. Having no
// divisor in common with the line's length, they meet each number once before they
// repeat. With equal weights one after the other will do. Else the turns of a
// heavy endpoint must not come in a row: picks spread evenly over the line at any
// time if the quotients of length and stride in Euclid's algorithm are small
// (Kuipers and Niederreiter, Uniform Distribution of Sequences, 2.3), for which
// the place to look is near the golden section.
func stride(length, endpoints uint64) uint64 {
	if length <= endpoints {
		return 1
	}
	const around = 16
	golden := uint64(math.Round(float64(length) / math.Phi))
	best, least := uint64(1), length
	for s := max(golden, around+1) - around; s <= min(golden+around, length); s++ {
		if divisor, quotient := euclid(length, s); divisor == 1 && quotient < least {
			best, least = s, quotient
		}
	}
	return best
}

// euclid is the greatest common divisor of a and b and the largest quotient met on
// the way to it.
func euclid(a, b uint64) (divisor, quotient uint64) {
	for b != 0 {
		quotient = max(quotient, a/b)
		a, b = b, a%b
	}
	return a, quotient
}

// hosts is for how many hosts an endpoint counts.
func (c *Cluster) hosts(e *Endpoint) int {
	if c.Discovery == Logical {
		return min(1, len(e.Addrs))
	}
	return len(e.Addrs)
}

// Usable returns the endpoints that flows may go to, and whether that is by the
// panic rule: if less than PanicThreshold percent of all hosts are healthy, all
// are used, since a few healthy ones would break down under everybody's load,
// and a check that finds most hosts dead is likely wrong itself (Envoy,
// intro/arch_overview/upstream/load_balancing/panic_threshold). As in Envoy, a
// DNS endpoint counts with its addresses, and not at all while it has none.
func (c *Cluster) Usable() (endpoints []*Endpoint, panicking bool) {
	var all, healthy int
	for i := range c.Endpoints {
		e := &c.Endpoints[i]
		all += c.hosts(e)
		if e.Health != Critical {
			healthy += c.hosts(e)
		}
	}
	panicking = c.PanicThreshold != NoPanic && 100*healthy < c.PanicThreshold*all
	for i := range c.Endpoints {
		e := &c.Endpoints[i]
		if len(e.Addrs) > 0 && (panicking || e.Health != Critical) {
			endpoints = append(endpoints, e)
		}
	}
	return endpoints, panicking
}

// Pick chooses an endpoint for a flow by the cluster's policy, and one of its
// addresses that is not among those tried before. It is false when there is none
// left, and for a cluster that did not come from a table. Pick does not allocate
// and may be called from many goroutines at a time.
func (c *Cluster) Pick(tried []netip.AddrPort) (*Endpoint, netip.AddrPort, bool) {
	b := c.balance
	if b == nil || len(b.endpoints) == 0 {
		return nil, netip.AddrPort{}, false
	}
	if len(tried) > 0 {
		return b.retry(tried)
	}
	var i int
	switch b.policy {
	case Random:
		i = b.random()
	case LeastRequest:
		i = b.leastRequest()
	default:
		i = b.roundRobin()
	}
	e := b.endpoints[i]
	return e, e.address(), true
}

// roundRobin gives each endpoint exactly its weight of every len picks.
func (b *balance) roundRobin() int {
	length := uint64(b.len())
	return b.at(uint32((b.turn.Add(1) % length) * b.step % length))
}

func (b *balance) random() int { return b.at(rand.Uint32N(b.len())) }

// leastRequest draws two different endpoints by weight and takes the one with
// fewer flows for its weight, the new flow included. This is the power of two
// choices (Mitzenmacher 2001) with the measure of Envoy, where an endpoint's
// weight is load_balancing_weight / (active_requests + 1)
// (extensions/load_balancing_policies/least_request/v3).
func (b *balance) leastRequest() int {
	i := b.random()
	weight := b.weight(i)
	others := b.len() - weight
	if others == 0 {
		return i
	}
	pos := rand.Uint32N(others) // on the line with i's piece cut out
	if pos >= b.ends[i]-weight {
		pos += weight
	}
	j := b.at(pos)
	if b.flowsWithNext(j)*int64(weight) < b.flowsWithNext(i)*int64(b.weight(j)) {
		return j
	}
	return i
}

func (b *balance) flowsWithNext(i int) int64 { return b.endpoints[i].Load.Active.Load() + 1 }

// retry picks by weight among the endpoints with an untried address, whatever the
// policy. It walks over all of them, but it runs only after a failed connect.
func (b *balance) retry(tried []netip.AddrPort) (*Endpoint, netip.AddrPort, bool) {
	var left uint32
	for i, e := range b.endpoints {
		if e.untried(tried) {
			left += b.weight(i)
		}
	}
	if left == 0 {
		return nil, netip.AddrPort{}, false
	}
	pos := rand.Uint32N(left)
	for i, e := range b.endpoints {
		if !e.untried(tried) {
			continue
		}
		if weight := b.weight(i); pos >= weight {
			pos -= weight
			continue
		}
		addr := e.address()
		for slices.Contains(tried, addr) { // ends, for one is untried
			addr = e.Addrs[(slices.Index(e.Addrs, addr)+1)%len(e.Addrs)]
		}
		return e, addr, true
	}
	return nil, netip.AddrPort{}, false // not reached: pos is less than the weights' sum
}

// untried tells whether an address is not among those tried.
func (e *Endpoint) untried(tried []netip.AddrPort) bool {
	for _, a := range e.Addrs {
		if !slices.Contains(tried, a) {
			return true
		}
	}
	return false
}

// address is the one whose turn it is.
func (e *Endpoint) address() netip.AddrPort {
	if len(e.Addrs) == 1 {
		return e.Addrs[0]
	}
	return e.Addrs[e.Load.next.Add(1)%uint64(len(e.Addrs))]
}

// len is the length of the line.
func (b *balance) len() uint32 { return b.ends[len(b.ends)-1] }

// at is the endpoint at a number on the line.
func (b *balance) at(pos uint32) int {
	return sort.Search(len(b.ends), func(i int) bool { return pos < b.ends[i] })
}

func (b *balance) weight(i int) uint32 {
	if i == 0 {
		return b.ends[0]
	}
	return b.ends[i] - b.ends[i-1]
}
