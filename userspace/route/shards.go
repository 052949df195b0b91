package route

import (
	"hash/maphash"
	"iter"
	"math/bits"
	"slices"
	"unsafe"
)

// shardCount bounds what one change copies: a directory of shardCount slices and
// one shard, at 100,000 keys some two hundred entries.
const shardCount = 512

// shards is an immutable map from strings. It is cut into shards by a hash of the
// key, and a changed map shares the untouched ones with the map it came from: a
// change copies little, and equal shards are told by their pointers. The zero
// value is empty.
//
// A look-up in a big table costs what it waits for memory. So a shard is a plain
// slice, sorted by hashes: being spread evenly, they tell about where to look, and
// next to it lies all but the key's bytes and the value. Go's own map, one for
// each shard, has three more pointers on the way.
type shards[V comparable] struct {
	dir *[shardCount][]entry[V]
	n   int
}

type entry[V comparable] struct {
	hash  uint64
	key   string
	value V
}

// seed is the same for all maps, for they are compared shard by shard. It is
// random, so nobody can choose names that fall into one shard.
var seed = maphash.MakeSeed()

func (s *shards[V]) len() int { return s.n }

func (s *shards[V]) get(key string) (v V, ok bool) {
	hash := maphash.String(seed, key)
	list := s.shard(hash)
	if i, ok := search(list, hash, key); ok {
		return list[i].value, true
	}
	return v, false
}

// find is get without making a string of the key.
func (s *shards[V]) find(key []byte) (V, bool) {
	return s.get(unsafe.String(unsafe.SliceData(key), len(key))) // get does not keep it
}

// shard is the one for this hash, or with this number.
func (s *shards[V]) shard(hash uint64) []entry[V] {
	if s.dir == nil {
		return nil
	}
	return s.dir[hash%shardCount]
}

// search tells where in a shard a key is, or where it would have to be.
func search[V comparable](list []entry[V], hash uint64, key string) (int, bool) {
	guess, _ := bits.Mul64(hash, uint64(len(list))) // hash / 2^64 * len
	i := int(guess)
	for i > 0 && list[i-1].hash >= hash {
		i--
	}
	for ; i < len(list) && list[i].hash <= hash; i++ {
		if list[i].hash == hash && list[i].key == key {
			return i, true
		}
	}
	return i, false
}

// all yields every key and value, in no order.
func (s *shards[V]) all() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for i := range uint64(shardCount) {
			for _, e := range s.shard(i) {
				if !yield(e.key, e.value) {
					return
				}
			}
		}
	}
}

// sameShard tells whether s and o share their i-th shard. They may have the same
// contents when they do not.
func (s *shards[V]) sameShard(o *shards[V], i uint64) bool {
	a, b := s.shard(i), o.shard(i)
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// edit makes a new map from an old one. It copies a shard before it first writes
// to it, and does not touch the old map.
type edit[V comparable] struct {
	shards[V]
	ours [shardCount]bool // shards that were copied and may be written to
	own  bool             // the same of the directory
}

func (e *edit[V]) put(key string, v V) {
	hash := maphash.String(seed, key)
	i, had := search(e.shard(hash), hash, key)
	if had && e.shard(hash)[i].value == v {
		return
	}
	list := e.writable(hash)
	if had {
		(*list)[i].value = v
		return
	}
	*list = slices.Insert(*list, i, entry[V]{hash, key, v})
	e.n++
}

func (e *edit[V]) delete(key string) {
	hash := maphash.String(seed, key)
	if i, had := search(e.shard(hash), hash, key); had {
		list := e.writable(hash)
		*list = slices.Delete(*list, i, i+1)
		e.n--
	}
}

// writable is the shard for this hash, made ours.
func (e *edit[V]) writable(hash uint64) *[]entry[V] {
	if !e.own {
		dir := new([shardCount][]entry[V])
		if e.dir != nil {
			*dir = *e.dir
		}
		e.dir, e.own = dir, true
	}
	i := hash % shardCount
	if !e.ours[i] {
		e.dir[i], e.ours[i] = append(make([]entry[V], 0, len(e.dir[i])+1), e.dir[i]...), true
	}
	return &e.dir[i]
}

// seal returns the map as it is now. Later edits copy again.
func (e *edit[V]) seal() shards[V] {
	if e.own {
		e.ours, e.own = [shardCount]bool{}, false
	}
	return e.shards
}
