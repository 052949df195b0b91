package figure

// Measured is what the clients of one turn have seen.
type Measured struct {
	Seconds   float64
	Bytes     uint64  `json:",omitempty"` // of bulk flows, both directions
	Exchanges uint64  `json:",omitempty"` // of ping-pong flows; connections, requests
	Exchange  Times   // of an exchange; of a connection, from its beginning to the first byte of data
	Hello     Times   // from a ClientHello to the first byte of an answer
	CPU       float64 // seconds that all processors worked meanwhile, for whomever
	Own       float64 // of these, those of the contender's own processes
}

// Times are quantiles, in microseconds; 0 when nothing was timed.
type Times struct{ P50, P99, P999 float64 }

// Quantiles sums up sorted times in nanoseconds.
func Quantiles(sorted []int64) Times {
	return Times{quantile(sorted, .5), quantile(sorted, .99), quantile(sorted, .999)}
}

func quantile(sorted []int64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]) / 1000
}

// Sample is one turn of one contender at one workload.
type Sample struct {
	Contender, Workload string
	Round               int
	Failed              string `json:",omitempty"` // why there are no figures
	Measured
}

// Cost is processor time of the whole machine: seconds per GiB when bytes are what
// counts, or per 100,000 exchanges.
func (s Sample) Cost(w Workload) float64 {
	if w.Metrics()[0].Name == throughput.Name {
		return s.CPU / (float64(s.Bytes) / (1 << 30))
	}
	return s.CPU / (float64(s.Exchanges) / 1e5)
}

// Idle is what a contender spends on flows that do nothing.
type Idle struct {
	Contender   string
	Flows       int
	Failed      string  `json:",omitempty"` // why it could not hold them
	Memory      float64 // bytes a flow
	Descriptors float64 // a flow
}

// Lookup is what one look-up takes in a table of so many routes.
type Lookup struct {
	Routes      int
	Nanoseconds float64
}
