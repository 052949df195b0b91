package mirror

// Map is a map of the kernel's.
type Map[K, V any] interface {
	// Lookup finds the value of a key, in a trie that of the longest key that begins
	// the given one. It is false when there is none.
	Lookup(key *K, value *V) (bool, error)
	// Put adds or replaces, one after the other; those before one that fails are put.
	Put(keys []K, values []V) error
	// Delete removes, one after the other. A key that is not there is no error.
	Delete(keys []K) error
	// All calls each with every key and value, in no order; they are its own only until
	// it returns. While others write, some may be missing or come twice.
	All(each func(*K, *V)) error
	// Max is the most keys that there can be.
	Max() int
}

// Traffic is what the kernel's programs count, by id of the route.
type Traffic interface {
	All(each func(id uint32, sum *TrafficRecord)) error
	Delete(ids []uint32) error
}

// Store is all the maps of an instance.
type Store struct {
	Routes    Map[RouteKey, RouteRecord]
	Clusters  Map[uint32, ClusterRecord]
	Endpoints Map[EndpointKey, EndpointRecord]
	Texts     Map[TextKey, TextRecord]
	Policies  Map[uint32, PolicyRecord] // by id of the route
	Meta      Map[uint32, MetaRecord]   // of key 0 alone
	Traffic   Traffic
	Stats     []Stats // by id of the route; 0 is for flows of routes that are not here

	// Refresh brings Stats up to date for ids up to this one. It is nil when they always
	// are, for they are shared with whoever counts.
	Refresh func(upTo uint32) error
}

// Limits are the most that a table may have. A field of 0 is for the default.
type Limits struct {
	Routes    int // 32768; each has 384 bytes of counters, used or not
	Clusters  int // 32768
	Addresses int // of all clusters together: 131072
	Texts     int // reasons of refusals and names in DNS, each different one, by pieces of 256 bytes: 32768
}

// WithDefaults fills in what is not set.
func (l Limits) WithDefaults() Limits {
	set := func(n *int, standard int) {
		if *n <= 0 {
			*n = standard
		}
	}
	set(&l.Routes, 32768)
	set(&l.Clusters, 32768)
	set(&l.Addresses, 131072)
	set(&l.Texts, 32768)
	return l
}

// Spare is how many times its limit a map has to hold: what replaces something is
// written before that is removed.
const Spare = 2

// Limits are those for which the store's maps were made.
func (s *Store) Limits() Limits {
	return Limits{
		Routes:    min(s.Routes.Max(), len(s.Stats)-1) / Spare,
		Clusters:  s.Clusters.Max() / Spare,
		Addresses: s.Endpoints.Max() / Spare,
		Texts:     s.Texts.Max() / Spare,
	}
}
