package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"sluice/loader"
	"sluice/userspace/mirror"
)

type mapsCommand struct{ env environment }

// mapsSettings are the flags of the verb.
type mapsSettings struct {
	reach reach
	out   output
	raw   bool
}

func (s *mapsSettings) flags() *flag.FlagSet {
	fs := flag.NewFlagSet("maps", flag.ContinueOnError)
	s.reach.name(fs)
	s.reach.registerPins(fs)
	s.out.register(fs)
	fs.BoolVar(&s.raw, "raw", false, "Show keys and values as the bytes that the kernel has, in hexadecimal.")
	return fs
}

func (c *mapsCommand) Synopsis() string { return "Show a gateway's maps in the kernel" }

func (c *mapsCommand) Help() string {
	return flagHelp(`
Usage: sluice maps [options] [NAME [KEY]]

  Without a name, lists all maps that a gateway has pinned, with what they hold, may hold
  and take of the kernel's memory. With the name of a map of the table (`+strings.Join(mirror.MapNames(), ", ")+`),
  shows its entries, or that of one key: the name of a server, or numbers with "/"
  between them, as the list has them. bpf/table.h says what the fields mean.

  An entry whose checksum does not hold is marked: it is about to be replaced, or damaged.
  All is read from the pins, so the gateway need not be running; when it
  is not, a line of stderr says so, and how old its table is.
`, new(mapsSettings).flags())
}

func (c *mapsCommand) Run(args []string) int {
	var set mapsSettings
	fs := set.flags()
	if status, ok := parseFlags(fs, args, c.env, 2); !ok {
		return status
	}
	err := set.out.check()
	if name := fs.Arg(0); err == nil && name != "" && !slices.Contains(mirror.MapNames(), name) {
		err = fmt.Errorf("there is no map %q in a table: want one of %s", name, strings.Join(mirror.MapNames(), ", "))
	}
	if err != nil {
		fail(c.env, "maps", err)
		return exitUsage
	}
	from, note := set.reach.pins(c.env), silence{env: c.env, verb: "maps"}
	return set.out.show(c.env, "maps", func(context.Context) (view, error) {
		v, err := set.look(from, fs.Arg(0), fs.Arg(1), &note)
		return v, set.reach.missed(c.env, err)
	})
}

// look shows entries of a map, or all maps when it has no name. Each look opens the pins
// again: another gateway may have put others in their place.
func (s *mapsSettings) look(from pinned, name, key string, note *silence) (view, error) {
	table, err := openTable(from)
	if name == "" {
		all, e := loader.Maps(from.dir, from.instance)
		if e == nil && len(all) == 0 {
			e = noTable{from}
		}
		e = from.explain(e)
		if err == nil {
			note.of(table)
			table.Close()
		}
		return mapsView(all), e // a gateway may have others, and no table
	}
	if err != nil {
		return nil, err
	}
	defer table.Close()
	note.of(table)
	return s.entries(table, name, key)
}

func (s *mapsSettings) entries(table *loader.Table, name, key string) (view, error) {
	v := entriesView{}
	take := func(e loader.Entry) error {
		shown, err := s.decode(name, e)
		v = append(v, shown)
		return err
	}
	if key == "" {
		var failed error
		err := table.Entries(name, func(e loader.Entry) { failed = errors.Join(failed, take(e)) })
		slices.SortFunc(v, func(a, b mirror.Dumped) int { return cmp.Compare(a.Key, b.Key) })
		return v, errors.Join(err, failed)
	}
	bytes, err := mirror.ParseKey(name, key)
	if err != nil {
		return nil, err
	}
	e, found, err := table.Entry(name, bytes)
	if err == nil && !found {
		err = fmt.Errorf("the map %s has nothing under %q", name, key)
	}
	if err != nil {
		return nil, err
	}
	err = take(e)
	return v, err
}

// decode makes an entry readable, unless it is wanted raw.
func (s *mapsSettings) decode(name string, e loader.Entry) (mirror.Dumped, error) {
	if s.raw {
		return mirror.Dumped{Key: hex.EncodeToString(e.Key), Value: hex.EncodeToString(e.Value), Sound: true}, nil
	}
	return mirror.Dump(name, e.Key, e.Value)
}

// mapsView shows maps.
type mapsView []loader.MapInfo

func (v mapsView) table(w io.Writer) {
	fmt.Fprintln(w, "NAME\tTYPE\tENTRIES\tMAX\tKEY\tVALUE\tMEMORY\tPIN")
	for _, m := range v {
		entries := fmt.Sprint(m.Entries)
		if m.Entries < 0 {
			entries = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\n", m.Name, m.Type, entries, m.Max, m.KeySize, m.ValueSize,
			quantity(float64(m.Bytes)), filepath.Clean(m.Path))
	}
}

// entriesView shows entries of a map.
type entriesView []mirror.Dumped

func (v entriesView) table(w io.Writer) {
	fmt.Fprintln(w, "KEY\tVALUE")
	for _, e := range v {
		text, isText := e.Value.(string)
		if !isText {
			b, err := json.Marshal(e.Value)
			if text = string(b); err != nil {
				text = err.Error()
			}
		}
		if !e.Sound {
			text += "  (its checksum does not hold)"
		}
		fmt.Fprintf(w, "%s\t%s\n", e.Key, text)
	}
}
