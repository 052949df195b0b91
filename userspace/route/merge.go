package route

// Merge makes one endpoint of those at the same address, which are instances that
// share a sidecar: it has the best health of them, and of those so healthy the
// largest weight. The order does not matter, so the source's is of no consequence.
// It works in the memory of all.
func Merge(all []Endpoint) []Endpoint {
	at := make(map[string]int, len(all))
	out := all[:0]
	for _, e := range all {
		i, twice := at[e.String()]
		switch {
		case !twice:
			at[e.String()] = len(out)
			out = append(out, e)
		case e.Health < out[i].Health:
			out[i] = e
		case e.Health == out[i].Health:
			out[i].Weight = max(out[i].Weight, e.Weight)
		}
	}
	return out
}
