package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"
)

// counted is a view that knows its turn.
type counted struct {
	Turn int `json:"turn"`
}

func (c counted) table(w io.Writer) { fmt.Fprintf(w, "TURN\tX\n%d\ty\n", c.Turn) }

var errOver = errors.New("it is over")

// looks is a look that ends with an error after so many turns.
func looks(turns int) func(context.Context) (view, error) {
	n := 0
	return func(context.Context) (view, error) {
		if n++; n > turns {
			return nil, errOver
		}
		return counted{n}, nil
	}
}

func TestOutput(t *testing.T) {
	for _, c := range []struct {
		name   string
		out    output
		turns  int
		status int
		stdout string
	}{
		{"table", output{format: "table"}, 1, exitOK, "TURN  X\n1     y\n"},
		{"JSON", output{format: "json"}, 1, exitOK, "{\"turn\":1}\n"},
		{"tables", output{format: "table", every: 1}, 2, exitError, "TURN  X\n1     y\n\nTURN  X\n2     y\n\n"},
		{"lines of JSON", output{format: "json", every: 1}, 2, exitError, "{\"turn\":1}\n{\"turn\":2}\n"},
		{"error", output{format: "table"}, 0, exitError, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			status := c.out.show(environment{stdout: &out, stderr: &errs}, "verb", looks(c.turns))
			if status != c.status || out.String() != c.stdout {
				t.Errorf("status %d, stdout %q", status, out.String())
			}
			if want := "sluice verb: it is over\n"; status == exitError && errs.String() != want {
				t.Errorf("stderr %q", errs.String())
			}
		})
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errOver }

func TestOutputCannotBeWritten(t *testing.T) {
	for _, format := range []string{"table", "json"} {
		var errs bytes.Buffer
		o := output{format: format, every: 1}
		if status := o.show(environment{stdout: brokenWriter{}, stderr: &errs}, "verb", looks(9)); status != exitError || errs.Len() == 0 {
			t.Errorf("%s: status %d, stderr %q", format, status, errs.String())
		}
	}
}

func TestOutputFlags(t *testing.T) {
	for _, c := range []struct {
		args  []string
		every time.Duration
		names []string
		ok    bool
	}{
		{nil, 0, nil, true},
		{[]string{"-watch"}, usualInterval, nil, true},
		{[]string{"-watch=500ms"}, 500 * time.Millisecond, nil, true},
		{[]string{"-watch", "500ms"}, 500 * time.Millisecond, nil, true},
		{[]string{"web", "--watch", "5s", "db"}, 5 * time.Second, []string{"web", "db"}, true},
		{[]string{"-watch", "web"}, usualInterval, []string{"web"}, true},
		{[]string{"-watch", "1"}, usualInterval, []string{"1"}, true},
		{[]string{"-watch", "--", "5s"}, usualInterval, []string{"5s"}, true},
		{[]string{"-watch", "web", "5s"}, usualInterval, []string{"web", "5s"}, true},
		{[]string{"-format", "json", "5s"}, 0, []string{"5s"}, true},
		{[]string{"watch", "5s"}, 0, []string{"watch", "5s"}, true},
		{[]string{"-watch=false"}, 0, nil, true},
		{[]string{"-watch=0s"}, 0, nil, false},
		{[]string{"-watch=-1s"}, 0, nil, false},
		{[]string{"-watch", "-1s"}, 0, nil, false},
		{[]string{"-watch=often"}, 0, nil, false},
		{[]string{"-format=json"}, 0, nil, true},
		{[]string{"-format=xml"}, 0, nil, false},
	} {
		fs := flag.NewFlagSet("verb", flag.ContinueOnError)
		fs.SetOutput(io.Discard)
		var o output
		o.register(fs)
		names, err := parseMixed(fs, c.args)
		if err == nil {
			err = o.check()
		}
		if (err == nil) != c.ok || err == nil && (time.Duration(o.every) != c.every || !slices.Equal(names, c.names)) {
			t.Errorf("%q: every %v, names %q, %v", c.args, time.Duration(o.every), names, err)
		}
	}
}

// TestWriteJSON has lists come out as the encoder writes them whole.
func TestWriteJSON(t *testing.T) {
	for _, v := range []view{
		routesView(nil), routesView{}, routesView{{Name: "<a>"}}, routesView{{Name: "a"}, {Name: "b", Refused: map[string]uint64{"killed": 1}}},
		counted{1},
	} {
		var want, got bytes.Buffer
		if err := json.NewEncoder(&want).Encode(v); err != nil {
			t.Fatal(err)
		}
		w := bufio.NewWriter(&got)
		if err := errors.Join(writeJSON(w, v), w.Flush()); err != nil {
			t.Fatal(err)
		}
		if got.String() != want.String() {
			t.Errorf("%#v: %s; want %s", v, &got, &want)
		}
	}
}
