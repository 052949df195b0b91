package snapshot

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sluice/userspace/route"
)

// fill sets every field that the format must carry: all that are exported, but for
// live counts. A kind that it does not know fails the test, and so must be thought
// about.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Interface().(type) {
	case *route.Load:
		return
	case netip.AddrPort:
		v.Set(reflect.ValueOf(netip.MustParseAddrPort("10.0.0.1:1")))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(t, v.Field(i))
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0))
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint8, reflect.Uint16:
		v.SetUint(1)
	default:
		t.Fatalf("no value for a %s", v.Type())
	}
}

// through is a value by way of a line of the file.
func through[T any](t *testing.T, v T) T {
	t.Helper()
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(v); err != nil {
		t.Fatal(err)
	}
	var out T
	line := json.NewDecoder(&b)
	line.DisallowUnknownFields()
	if err := line.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestEveryFieldSurvives fails when a field is added to the table's types that is
// lost on the way.
func TestEveryFieldSurvives(t *testing.T) {
	var r route.Route
	fill(t, reflect.ValueOf(&r).Elem())
	if diff := cmp.Diff(&r, through(t, lineOfRoute(&r)).route()); diff != "" {
		t.Errorf("route: %s", diff)
	}

	var c route.Cluster
	fill(t, reflect.ValueOf(&c).Elem())
	if len(c.Endpoints) != 1 || len(c.Endpoints[0].Addrs) != 1 || c.Endpoints[0].Health != route.Warning {
		t.Fatalf("not filled: %+v", c)
	}
	got, err := through(t, lineOfCluster(&c, nil)).cluster()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&c, got, cmpopts.IgnoreUnexported(c), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("cluster: %s", diff)
	}
}

// TestMetaSurvives is the same of what is beside the table.
func TestMetaSurvives(t *testing.T) {
	want := fullMeta()
	for v, i := reflect.ValueOf(want), 0; i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Fatalf("fullMeta lacks %s", v.Type().Field(i).Name)
		}
	}
	_, got, err := decode(text(t, build(t, "xds"), want))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Error(diff)
	}
}

func TestNamed(t *testing.T) {
	for _, p := range []route.Policy{route.RoundRobin, route.LeastRequest, route.Random} {
		if got, err := named[route.Policy](p.String()); err != nil || got != p {
			t.Errorf("%s is %s (error: %v)", p, got, err)
		}
	}
	for _, name := range []string{"", "Random", "255", "256", "-1"} {
		if got, err := named[route.Health](name); err == nil {
			t.Errorf("%q is %s", name, got)
		}
	}
}
