package chart

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden file anew")

// example has each kind of bar, an odd number of panels, and names to be escaped.
var example = []Panel{
	{Title: "bulk, 1 flow: throughput, Gbit/s", Bars: []Bar{
		{Name: "IP forwarding", Class: "limit", Value: 40, Min: 35, Max: 45, Note: "40.0"},
		{Name: "sluice splice", Class: "sluice", Value: 30, Min: 30, Max: 30, Note: "30.0"},
		{Name: "haproxy", Class: "peer", Value: 10.123, Min: 9, Max: 12, Note: "10.1"},
	}},
	{Title: "one who failed", Bars: []Bar{{Name: "io.Copy", Class: "peer", Note: "failed"}}},
	{Title: `<less> & "more"`, Bars: []Bar{{Name: "a<b", Class: "sluice", Value: 1, Note: "1 < 2"}}},
}

func TestGolden(t *testing.T) {
	const golden = "testdata/example.svg"
	got := Draw("An example", example)
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("(-want +got; if it is as it should be, run this test with -update) %s", diff)
	}
	for range 10 {
		if !bytes.Equal(got, Draw("An example", example)) {
			t.Fatal("the same figures made other bytes")
		}
	}
}

func TestDraw(t *testing.T) {
	for _, test := range []struct {
		name   string
		panels []Panel
	}{
		{"no panels", nil},
		{"a panel without bars", []Panel{{Title: "empty"}}},
		{"all", example},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := Draw("<&>", test.panels)
			for d := xml.NewDecoder(bytes.NewReader(got)); ; {
				if _, err := d.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatalf("it is no XML: %v\n%s", err, got)
				}
			}
			for _, want := range []string{"prefers-color-scheme: dark", "&lt;&amp;&gt;"} {
				if !strings.Contains(string(got), want) {
					t.Errorf("it lacks %q", want)
				}
			}
		})
	}
}
