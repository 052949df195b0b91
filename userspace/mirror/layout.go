package mirror

import (
	"hash/crc32"
	"sync/atomic"
	"unsafe"
)

// The layouts of bpf/table.h, which says what is in each field.

const (
	nameSize = 256
	textSize = 256
	pathSize = 16
)

// RouteKey is the key of a trie: the first Bits bits of Name count.
type RouteKey struct {
	Bits uint32
	Name [nameSize]byte
}

// RouteRecord is where a name leads.
type RouteRecord struct {
	MaxFlows uint64
	ID       uint32
	Cluster  uint32
	Refuse   uint32
	Credit   uint32
	Path     [pathSize]byte
	Check    uint32
	_        uint32
}

// ClusterRecord is a cluster without its addresses.
type ClusterRecord struct {
	ConnectTimeout uint64
	ID             uint32
	Generation     uint32
	Addresses      uint32
	Panic          int32
	Policy         uint8
	Discovery      uint8
	SendProxy      uint8
	_              uint8
	NameBytes      uint32
	Check          uint32
	_              uint32
	Name           [nameSize]byte
}

// EndpointKey is the place of an address.
type EndpointKey struct {
	Cluster    uint32
	Generation uint32
	Index      uint32
}

// EndpointRecord is one address of an endpoint, or one that has none yet.
type EndpointRecord struct {
	Addr     [16]byte
	Member   uint32
	Host     uint32
	Zone     uint32
	Port     uint16
	HostPort uint16
	Weight   uint16
	Family   uint8
	Health   uint8
	Check    uint32
}

// TextKey is the place of a piece of text.
type TextKey struct{ ID, Part uint32 }

// TextRecord is a piece of text.
type TextRecord struct {
	Bytes uint32 // of the whole text
	Check uint32
	Text  [textSize]byte
}

// PolicyRecord is what an operator has set for a route.
type PolicyRecord struct {
	SetAt     uint64
	MaxFlows  uint64
	Credit    uint32
	NameBytes uint32
	Check     uint32
	_         uint32
	Path      [pathSize]byte
	Name      [nameSize]byte
}

// Stats are a route's counters, in memory that is shared with whoever looks.
type Stats struct {
	Flows           atomic.Uint64 // begun
	Active          atomic.Int64  // now
	Sent            atomic.Uint64 // bytes to upstreams
	Received        atomic.Uint64 // and from them
	ConnectFailures atomic.Uint64 // attempts, not flows
	_               [3]uint64
	Ended           [ends]atomic.Uint64 // by how they ended: see Stats.End
}

// TrafficRecord is what the kernel's programs moved of a route's flows themselves:
// to the upstream, and from it.
type TrafficRecord struct {
	Pieces [2]uint64
	Bytes  [2]uint64
}

// State is whether the table in the maps is whole.
type State uint32

// The states.
const (
	Empty   State = iota // nothing was ever written
	Writing              // a change is being written, or was when its writer was killed
	Whole
)

// String is "empty", "writing" or "whole".
func (s State) String() string {
	switch s {
	case Empty:
		return "empty"
	case Writing:
		return "writing"
	case Whole:
		return "whole"
	}
	return "invalid"
}

// MetaRecord is about the whole.
type MetaRecord struct {
	Sequence    uint64
	Version     uint64
	Built       int64
	Written     int64
	State       uint32
	Check       uint32
	Routes      uint32
	Clusters    uint32
	Addresses   uint32
	NextCluster uint32
	NextText    uint32
	_           uint32
	Source      [nameSize]byte
	Index       [nameSize]byte
	Gateway     [nameSize]byte
	Listeners   [4 * nameSize]byte
}

// record is one that has a checksum.
type record[T any] interface {
	*T
	check() *uint32
}

func (r *RouteRecord) check() *uint32    { return &r.Check }
func (r *ClusterRecord) check() *uint32  { return &r.Check }
func (r *EndpointRecord) check() *uint32 { return &r.Check }
func (r *TextRecord) check() *uint32     { return &r.Check }
func (r *PolicyRecord) check() *uint32   { return &r.Check }
func (r *MetaRecord) check() *uint32     { return &r.Check }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is that of a record under its key.
func checksum[K, V any, R record[V]](key *K, value R) uint32 {
	sum := value.check()
	was := *sum
	*sum = 0
	crc := crc32.Update(crc32.Checksum(bytesOf(key), castagnoli), castagnoli, bytesOf((*V)(value)))
	*sum = was
	return crc
}

// seal sets a record's checksum.
func seal[K, V any, R record[V]](key *K, value R) { *value.check() = checksum(key, value) }

// sound tells whether a record is as it was written, and under this key.
func sound[K, V any, R record[V]](key *K, value R) bool {
	return *value.check() == checksum(key, value)
}

// bytesOf is the memory of a value that has neither pointers nor padding.
func bytesOf[T any](v *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
}

// text is what is in a fixed field, up to the first NUL.
func text(field []byte) string {
	for i, c := range field {
		if c == 0 {
			return string(field[:i])
		}
	}
	return string(field)
}

// Add adds what others counted.
func (r *TrafficRecord) Add(o *TrafficRecord) {
	for way := range r.Bytes {
		r.Pieces[way] += o.Pieces[way]
		r.Bytes[way] += o.Bytes[way]
	}
}
