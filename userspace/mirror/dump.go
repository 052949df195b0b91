package mirror

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"sluice/userspace/route"
)

// Dumped is an entry of a map, for people to read. Value is one of the types below, in
// JSON with the names that they have in bpf/table.h.
type Dumped struct {
	Key   string `json:"key"`
	Value any    `json:"value"`
	Sound bool   `json:"sound"` // its checksum holds, or it has none
}

type (
	dumpedRoute struct {
		ID       uint32 `json:"id"`
		Cluster  uint32 `json:"cluster,omitempty"`
		Refuse   uint32 `json:"refuse,omitempty"`
		MaxFlows uint64 `json:"max_flows,omitempty"`
		Credit   uint32 `json:"credit,omitempty"`
		Path     string `json:"path,omitempty"`
	}
	dumpedCluster struct {
		Name           string `json:"name"`
		Generation     uint32 `json:"generation"`
		Addresses      uint32 `json:"addresses"`
		Policy         string `json:"policy"`
		ConnectTimeout string `json:"connect_timeout"`
		Panic          int32  `json:"panic"`
		SendProxy      bool   `json:"send_proxy"`
		Discovery      string `json:"discovery"`
	}
	dumpedEndpoint struct {
		Address  string `json:"address,omitempty"`
		Zone     uint32 `json:"zone,omitempty"`
		Member   uint32 `json:"member"`
		Host     uint32 `json:"host,omitempty"`
		HostPort uint16 `json:"host_port,omitempty"`
		Weight   uint16 `json:"weight"`
		Health   string `json:"health"`
	}
	dumpedText struct {
		Bytes uint32 `json:"bytes"`
		Text  string `json:"text"`
	}
	dumpedPolicy struct {
		Name     string    `json:"name"`
		SetAt    time.Time `json:"set_at"`
		MaxFlows uint64    `json:"max_flows,omitempty"`
		Credit   uint32    `json:"credit,omitempty"`
		Path     string    `json:"path,omitempty"`
	}
	dumpedStats struct {
		Flows           uint64            `json:"flows"`
		Active          int64             `json:"active"`
		Sent            uint64            `json:"sent"`
		Received        uint64            `json:"received"`
		ConnectFailures uint64            `json:"connect_failures"`
		Ended           map[string]uint64 `json:"ended,omitempty"`
	}
	dumpedMeta struct {
		Sequence    uint64           `json:"sequence"`
		State       string           `json:"state"`
		Version     uint64           `json:"version"`
		Source      string           `json:"source"`
		Index       string           `json:"index"`
		Gateway     string           `json:"gateway"`
		Listeners   []netip.AddrPort `json:"listeners"`
		Built       time.Time        `json:"built"`
		Written     time.Time        `json:"written"`
		Routes      uint32           `json:"routes"`
		Clusters    uint32           `json:"clusters"`
		Addresses   uint32           `json:"addresses"`
		NextCluster uint32           `json:"next_cluster"`
		NextText    uint32           `json:"next_text"`
	}
)

// kind is how to read and write the entries of a map.
type kind struct {
	dump  func(key, value []byte) (Dumped, error)
	parse func(text string) ([]byte, error)
}

// kinds are the maps of bpf/table.c by name.
var kinds = map[string]kind{
	"routes":        {dumpAs(dumpRoute), parseName},
	"clusters":      {dumpAs(dumpCluster), parseNumbers(1)},
	"endpoints":     {dumpAs(dumpEndpoint), parseNumbers(3)},
	"texts":         {dumpAs(dumpText), parseNumbers(2)},
	"policy":        {dumpAs(dumpPolicy), parseNumbers(1)},
	"route_stats":   {dumpAs(dumpStats), parseNumbers(1)},
	"route_traffic": {dumpTraffic, parseNumbers(1)},
	"meta":          {dumpAs(dumpMeta), parseNumbers(1)},
}

// MapNames are the maps that Dump and ParseKey know, sorted.
func MapNames() []string {
	names := make([]string, 0, len(kinds))
	for name := range kinds {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Dump decodes an entry of a map, as the kernel has it.
func Dump(name string, key, value []byte) (Dumped, error) {
	k, ok := kinds[name]
	if !ok {
		return Dumped{}, fmt.Errorf("there is no map %q of the table", name)
	}
	return k.dump(key, value)
}

// ParseKey encodes a key as Dump shows it: a name of a server, or numbers with "/"
// between them.
func ParseKey(name, text string) ([]byte, error) {
	k, ok := kinds[name]
	if !ok {
		return nil, fmt.Errorf("there is no map %q of the table", name)
	}
	return k.parse(text)
}

// dumpAs reads the bytes as what they are.
func dumpAs[K, V any](dump func(*K, *V) Dumped) func(key, value []byte) (Dumped, error) {
	return func(key, value []byte) (Dumped, error) {
		k, v := new(K), new(V)
		if len(key) != int(unsafe.Sizeof(*k)) || len(value) != int(unsafe.Sizeof(*v)) {
			return Dumped{}, fmt.Errorf("an entry of %d and %d bytes has another layout", len(key), len(value))
		}
		copy(bytesOf(k), key)
		copy(bytesOf(v), value)
		return dump(k, v), nil
	}
}

func dumpRoute(k *RouteKey, r *RouteRecord) Dumped {
	return Dumped{k.Route(), dumpedRoute{r.ID, r.Cluster, r.Refuse, r.MaxFlows, r.Credit, text(r.Path[:])}, sound(k, r)}
}

func dumpCluster(id *uint32, r *ClusterRecord) Dumped {
	c := r.cluster()
	return Dumped{number(*id), dumpedCluster{
		c.Name, r.Generation, r.Addresses, c.Policy.String(), c.ConnectTimeout.String(), r.Panic, c.SendProxy, c.Discovery.String(),
	}, sound(id, r)}
}

func dumpEndpoint(k *EndpointKey, r *EndpointRecord) Dumped {
	d := dumpedEndpoint{
		Zone: r.Zone, Member: r.Member, Host: r.Host, HostPort: r.HostPort, Weight: r.Weight, Health: route.Health(r.Health).String(),
	}
	if a, err := r.addr(func(uint32) (string, error) { return "", nil }); err == nil {
		d.Address = a.String()
	}
	return Dumped{number(k.Cluster, k.Generation, k.Index), d, sound(k, r)}
}

func dumpText(k *TextKey, r *TextRecord) Dumped {
	rest := int(min(r.Bytes, 1<<30)) - int(min(k.Part, 1<<20))*textSize
	return Dumped{number(k.ID, k.Part), dumpedText{r.Bytes, string(r.Text[:min(max(rest, 0), textSize)])}, sound(k, r)}
}

func dumpPolicy(id *uint32, r *PolicyRecord) Dumped {
	return Dumped{number(*id), dumpedPolicy{
		r.name(), time.Unix(0, int64(r.SetAt)).UTC(), r.MaxFlows, r.Credit, text(r.Path[:]),
	}, sound(id, r)}
}

func dumpStats(id *uint32, s *Stats) Dumped {
	c := s.counts()
	d := dumpedStats{Flows: c.Flows, Active: c.Active, Sent: c.Sent, Received: c.Received, ConnectFailures: c.ConnectFailures}
	for end, n := range c.Ended {
		if d.Ended == nil {
			d.Ended = map[string]uint64{}
		}
		d.Ended[end.String()] = n
	}
	return Dumped{number(*id), d, true}
}

func dumpMeta(key *uint32, r *MetaRecord) Dumped {
	m := r.meta()
	return Dumped{number(*key), dumpedMeta{
		r.Sequence, m.State.String(), r.Version, m.Source, m.Index, m.Gateway, m.Listeners,
		time.Unix(0, r.Built).UTC(), time.Unix(0, r.Written).UTC(), r.Routes, r.Clusters, r.Addresses, r.NextCluster, r.NextText,
	}, *r == (MetaRecord{}) || sound(key, r)}
}

// dumpTraffic has a value of each processor, of which it shows the sum.
func dumpTraffic(key, value []byte) (Dumped, error) {
	const size = int(unsafe.Sizeof(TrafficRecord{}))
	if len(key) != 4 || len(value)%size != 0 {
		return Dumped{}, fmt.Errorf("an entry of %d and %d bytes has another layout", len(key), len(value))
	}
	var id uint32
	copy(bytesOf(&id), key)
	var sum TrafficRecord
	for one := range slices.Chunk(value, size) {
		var r TrafficRecord
		copy(bytesOf(&r), one)
		sum.Add(&r)
	}
	return Dumped{number(id), struct {
		Pieces [2]uint64 `json:"pieces"`
		Bytes  [2]uint64 `json:"bytes"`
	}{sum.Pieces, sum.Bytes}, true}, nil
}

func number(parts ...uint32) string {
	words := make([]string, len(parts))
	for i, n := range parts {
		words[i] = strconv.FormatUint(uint64(n), 10)
	}
	return strings.Join(words, "/")
}

func parseNumbers(n int) func(string) ([]byte, error) {
	form := []string{1: "a number", 2: "an id and a part (3/0)", 3: "a cluster, a generation and an index (3/1/0)"}[n]
	return func(text string) ([]byte, error) {
		words := strings.Split(text, "/")
		if len(words) != n {
			return nil, fmt.Errorf("%q is no key of this map: it is %s", text, form)
		}
		var key []byte
		for _, word := range words {
			v, err := strconv.ParseUint(word, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("%q is no number of a key", word)
			}
			id := uint32(v)
			key = append(key, bytesOf(&id)...)
		}
		return key, nil
	}
}

// parseName takes a name of a server, or of a route ("*.x"), which finds the route that
// holds for all below.
func parseName(text string) ([]byte, error) {
	name := strings.TrimSuffix(strings.ToLower(text), ".")
	if strings.HasPrefix(name, "*") {
		k := keyOf(name)
		return bytesOf(&k), nil
	}
	k, ok := LookupKey([]byte(name))
	if !ok {
		return nil, fmt.Errorf("%q is no name", text)
	}
	return bytesOf(&k), nil
}
