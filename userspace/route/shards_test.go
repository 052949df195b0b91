package route

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
)

// TestShardsLikeMap edits a map many times and checks that each of its versions
// stays as it was.
func TestShardsLikeMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var e edit[int]
	var versions []shards[int]
	var want []map[string]int
	now := map[string]int{}
	for range 50 {
		for range rng.IntN(200) {
			key := fmt.Sprint(rng.IntN(3000))
			if rng.IntN(3) == 0 {
				e.delete(key)
				delete(now, key)
			} else {
				v := rng.IntN(5)
				e.put(key, v)
				now[key] = v
			}
		}
		versions = append(versions, e.seal())
		want = append(want, maps.Clone(now))
	}
	for i, s := range versions {
		if got := maps.Collect(s.all()); !maps.Equal(got, want[i]) || s.len() != len(want[i]) {
			t.Fatalf("version %d has %d keys, its length is %d, want %d", i, len(got), s.len(), len(want[i]))
		}
		for key := range 3000 {
			key := fmt.Sprint(key)
			v, ok := want[i][key]
			got, found := s.get(key)
			same, also := s.find([]byte(key))
			if got != v || found != ok || same != v || also != ok {
				t.Fatalf("version %d: key %s is %d %v and %d %v, want %d %v", i, key, got, found, same, also, v, ok)
			}
		}
	}
}

func TestShardsShare(t *testing.T) {
	var e edit[int]
	for i := range 10000 {
		e.put(fmt.Sprint(i), i)
	}
	old := e.seal()
	e.put("17", 17) // no change
	if same := e.seal(); same.dir != old.dir {
		t.Error("putting what is there already made a copy")
	}
	e.put("17", 18)
	e.put("17", 19)
	next := e.seal()
	differ := 0
	for i := range uint64(shardCount) {
		if !old.sameShard(&next, i) {
			differ++
		}
	}
	if differ != 1 {
		t.Errorf("one change copied %d shards", differ)
	}
	if v, _ := old.get("17"); v != 17 {
		t.Errorf("the old map has %d now", v)
	}
}

func TestShardsEmpty(t *testing.T) {
	var e edit[int]
	e.delete("x")
	s := e.seal()
	if _, ok := s.get("x"); ok || s.len() != 0 {
		t.Error("the zero map has something")
	}
	if _, ok := s.find([]byte("x")); ok {
		t.Error("the zero map has something")
	}
	for range s.all() {
		t.Error("the zero map yields something")
	}
}

// TestSearchUneven searches shards whose hashes are not as evenly spread as they
// should be, some of them even the same.
func TestSearchUneven(t *testing.T) {
	const top = ^uint64(0)
	var list []entry[int]
	for i, hash := range []uint64{0, 0, 1, 2, 3, 3, 3, top / 2, top - 1, top, top} {
		list = append(list, entry[int]{hash, fmt.Sprint(i), i})
	}
	for i, e := range list {
		if at, ok := search(list, e.hash, e.key); at != i || !ok {
			t.Errorf("entry %d: found %v at %d", i, ok, at)
		}
	}
	for hash, want := range map[uint64]int{0: 2, 3: 7, 4: 7, top / 3: 7, top - 2: 8, top: 11} {
		if at, ok := search(list, hash, "none"); at != want || ok {
			t.Errorf("hash %d: found %v, to insert at %d, want %d", hash, ok, at, want)
		}
	}
	if at, ok := search[int](nil, 5, "none"); at != 0 || ok {
		t.Errorf("found %v at %d in nothing", ok, at)
	}
}
