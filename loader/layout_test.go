package loader

import (
	"reflect"
	"strings"
	"testing"
	"unicode"

	"github.com/cilium/ebpf/btf"

	"sluice/userspace/slot"
)

// goLayouts are the shared structs, as Go lays them out: offset and size of each
// member by its name in C.
func goLayouts() map[string]map[string][2]uint32 {
	all := map[string]map[string][2]uint32{}
	for name, typ := range map[string]reflect.Type{
		"way":    reflect.TypeFor[slot.Way](),
		"policy": reflect.TypeFor[slot.Policy](),
		"event":  reflect.TypeFor[slot.Event](),
	} {
		members := map[string][2]uint32{"": {0, uint32(typ.Size())}}
		for f := range typ.Fields() {
			if f.Name != "_" {
				members[snake(f.Name)] = [2]uint32{uint32(f.Offset), uint32(f.Type.Size())}
			}
		}
		all[name] = members
	}
	return all
}

// btfLayout is the same of a struct in the program.
func btfLayout(t *testing.T, spec *btf.Spec, name string) map[string][2]uint32 {
	t.Helper()
	var s *btf.Struct
	if err := spec.TypeByName(name, &s); err != nil {
		t.Fatal(err)
	}
	members := map[string][2]uint32{"": {0, s.Size}}
	for _, m := range s.Members {
		if m.Name == "unused" || m.Name == "spare" {
			continue
		}
		size, err := btf.Sizeof(m.Type)
		if err != nil {
			t.Fatal(err)
		}
		members[m.Name] = [2]uint32{m.Offset.Bytes(), uint32(size)}
	}
	return members
}

// snake turns a name of Go's into one of C's.
func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// TestNumbers compares the enumerations that are in Go and in C.
func TestNumbers(t *testing.T) {
	for _, c := range []struct {
		what    string
		goes, c uint32
	}{
		{"free", slot.Free, uint32(sockmapModeMODE_FREE)},
		{"hold", slot.Hold, uint32(sockmapModeMODE_HOLD)},
		{"redirect", slot.Redirect, uint32(sockmapModeMODE_REDIRECT)},
		{"seen", slot.Seen, uint32(sockmapMarkMARK_SEEN)},
		{"based", slot.Based, uint32(sockmapMarkMARK_BASED)},
		{"fin", slot.Fin, uint32(sockmapMarkMARK_FIN)},
		{"broken", slot.Broken, uint32(sockmapMarkMARK_BROKEN)},
		{"default", uint32(slot.Default), uint32(sockmapRuleRULE_DEFAULT)},
		{"on", uint32(slot.On), uint32(sockmapRuleRULE_ON)},
		{"off", uint32(slot.Off), uint32(sockmapRuleRULE_OFF)},
		{"passed event", uint32(slot.PassedEvent), uint32(sockmapEventKindEVENT_PASSED)},
		{"broken event", uint32(slot.BrokenEvent), uint32(sockmapEventKindEVENT_BROKEN)},
	} {
		if c.goes != c.c {
			t.Errorf("%s is %d in Go and %d in C", c.what, c.goes, c.c)
		}
	}
}

// TestReasons compares the reasons, whose names are the same but for their case.
func TestReasons(t *testing.T) {
	spec, err := loadSockmap()
	if err != nil {
		t.Fatal(err)
	}
	var e *btf.Enum
	if err := spec.Types.TypeByName("reason", &e); err != nil {
		t.Fatal(err)
	}
	if len(e.Values) != int(slot.Reasons)+1 {
		t.Errorf("%d reasons in C, %d in Go", len(e.Values)-1, slot.Reasons)
	}
	for _, v := range e.Values {
		name := strings.ToLower(strings.TrimPrefix(v.Name, "REASON_"))
		if r := slot.Reason(v.Value); r < slot.Reasons && r.String() != name {
			t.Errorf("reason %d is %q in Go and %q in C", v.Value, r, name)
		}
	}
}
