package mirror

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestDump shows an entry of each map from its bytes.
func TestDump(t *testing.T) {
	stats := new(Stats)
	stats.Flows.Store(3)
	stats.Ended[1].Store(2)
	key := keyOf("*.x")
	_, rec := encodeRoute(names(t, nil, "*.x").Route("*.x"), 7, 8, 0)
	for _, c := range []struct {
		name       string
		key, value []byte
		want       string
	}{
		{"routes", bytesOf(&key), bytesOf(&rec), `{"key":"*.x","value":{"id":7,"cluster":8},"sound":true}`},
		{"route_stats", []byte{2, 0, 0, 0}, bytesOf(stats),
			`{"key":"2","value":{"flows":3,"active":0,"sent":0,"received":0,"connect_failures":0,"ended":{"route_refused":2}},"sound":true}`},
		{"texts", bytesOf(&TextKey{3, 1}), bytesOf(&TextRecord{Bytes: 258, Text: [textSize]byte{'h', 'i', 'x'}}),
			`{"key":"3/1","value":{"bytes":258,"text":"hi"},"sound":false}`},
		{"route_traffic", []byte{1, 0, 0, 0}, append(bytesOf(&TrafficRecord{Bytes: [2]uint64{1, 2}}), bytesOf(&TrafficRecord{Bytes: [2]uint64{3, 4}})...),
			`{"key":"1","value":{"pieces":[0,0],"bytes":[4,6]},"sound":true}`},
	} {
		d, err := Dump(c.name, c.key, c.value)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(d)
		if err != nil || string(text) != c.want {
			t.Errorf("%s: %s (%v)", c.name, text, err)
		}
	}
	if _, err := Dump("none", nil, nil); err == nil {
		t.Error("an entry of no map is shown")
	}
	for _, name := range MapNames() {
		if _, err := Dump(name, []byte("key"), []byte("value")); err == nil {
			t.Errorf("%s: an entry of another layout is shown", name)
		}
	}
}

// TestParseKey has keys that are none.
func TestParseKey(t *testing.T) {
	for _, c := range [][2]string{
		{"none", "1"}, {"routes", ""}, {"routes", ".x"}, {"clusters", "a"}, {"clusters", "1/2"}, {"endpoints", "1"}, {"endpoints", "1/2/4294967296"}, {"texts", "-1/0"},
	} {
		if key, err := ParseKey(c[0], c[1]); err == nil {
			t.Errorf("%s is a key of %s: %x", c[1], c[0], key)
		}
	}
	upper, err := ParseKey("routes", "A.X.")
	if want := keyOf("a.x"); err != nil || string(upper) != string(bytesOf(&want)) {
		t.Errorf("%x, %v", upper, err)
	}
}

// FuzzKey reads any key, which may be damaged.
func FuzzKey(f *testing.F) {
	f.Add(uint32(16), []byte("x."))
	f.Add(uint32(24), []byte("x.\x00"))
	f.Add(uint32(4000), []byte(strings.Repeat("x", 300)))
	f.Fuzz(func(_ *testing.T, bits uint32, name []byte) {
		k := RouteKey{Bits: bits}
		copy(k.Name[:], name)
		again := keyOf(k.Route())
		again.Route()
	})
}
