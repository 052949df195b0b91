package mirror

import (
	"net/netip"
	"strings"
	"time"
)

// About is what is kept beside a table. Texts are cut at 256 bytes, and listeners at
// 1,024 bytes of them.
type About struct {
	Gateway   string           // that the table is for: "dc1/mesh-gateway"
	Listeners []netip.AddrPort // that it had
}

// Meta is what is known of the table in the maps.
type Meta struct {
	About
	State     State
	Sequence  uint64 // differs while and after a change is written
	Version   uint64 // of the table, in the process that wrote it
	Source    string
	Index     string    // see route.Table
	Built     time.Time // the table
	Written   time.Time // it into the maps
	Routes    int
	Clusters  int
	Addresses int
}

func (r *MetaRecord) meta() Meta {
	m := Meta{
		About: About{Gateway: text(r.Gateway[:])},
		State: State(r.State), Sequence: r.Sequence, Version: r.Version, Source: text(r.Source[:]), Index: text(r.Index[:]),
		Routes: int(r.Routes), Clusters: int(r.Clusters), Addresses: int(r.Addresses),
	}
	if r.Written != 0 {
		m.Built, m.Written = time.Unix(0, r.Built), time.Unix(0, r.Written)
	}
	for word := range strings.SplitSeq(text(r.Listeners[:]), ",") {
		if a, err := netip.ParseAddrPort(word); err == nil {
			m.Listeners = append(m.Listeners, a)
		}
	}
	return m
}

func (r *MetaRecord) setAbout(a About) {
	clear(r.Gateway[:])
	copy(r.Gateway[:], a.Gateway)
	clear(r.Listeners[:])
	rest := r.Listeners[:]
	for i, addr := range a.Listeners {
		word := addr.String()
		if i > 0 {
			word = "," + word
		}
		if len(word) > len(rest) {
			break
		}
		rest = rest[copy(rest, word):]
	}
}

// ReadMeta returns what is known of the table in the maps, without reading that. It is the
// zero Meta when nothing is.
func ReadMeta(s *Store) (Meta, error) {
	rec, ok, err := readMeta(s)
	if err != nil || !ok {
		return Meta{}, err
	}
	return rec.meta(), nil
}

// readMeta reads what is known of the table, and false when nothing is, or it is
// damaged.
func readMeta(s *Store) (rec MetaRecord, ok bool, err error) {
	// It may be read while it is written.
	for range 10 {
		found, err := s.Meta.Lookup(new(uint32), &rec)
		if err != nil || !found || rec == (MetaRecord{}) {
			return MetaRecord{}, false, err
		}
		if sound(new(uint32), &rec) {
			return rec, true, nil
		}
	}
	return MetaRecord{}, false, nil
}

// writeMeta writes it, one further in the sequence.
func (m *Mirror) writeMeta(state State) error {
	m.meta.Sequence++
	m.meta.State = uint32(state)
	m.meta.Written = m.now().UnixNano()
	m.meta.NextCluster, m.meta.NextText = m.nextCluster, m.texts.next
	seal(new(uint32), &m.meta)
	return m.store.Meta.Put([]uint32{0}, []MetaRecord{m.meta})
}
