package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"reflect"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// output is how a verb shows what it found: once or again and again, for people or for
// programs.
type output struct {
	format string
	every  interval // 0: once
}

// view is what a verb shows. Its JSON is the value's own, one line for each turn of
// -watch.
type view interface {
	// table writes lines of cells that end with tabs, see text/tabwriter.
	table(w io.Writer)
}

func (o *output) register(fs *flag.FlagSet) {
	fs.StringVar(&o.format, "format", "table", "Print a `table` or json.")
	fs.Var(&o.every, "watch", "Print again and again, every `interval`, 2s when none is given.")
}

// check is for after the flags are parsed.
func (o *output) check() error {
	if o.format != "table" && o.format != "json" {
		return fmt.Errorf("-format=%q: want table or json", o.format)
	}
	return nil
}

// show prints what look finds, until a signal or an error ends it.
func (o *output) show(env environment, verb string, look func(ctx context.Context) (view, error)) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	for {
		v, err := look(ctx)
		if ctx.Err() != nil {
			return exitOK
		}
		if err == nil {
			err = o.print(env.stdout, v)
		}
		if err != nil {
			return fail(env, verb, err)
		}
		if o.every == 0 {
			return exitOK
		}
		select {
		case <-ctx.Done():
			return exitOK
		case <-time.After(time.Duration(o.every)):
		}
		if o.format == "table" {
			fmt.Fprintln(env.stdout)
		}
	}
}

func (o *output) print(w io.Writer, v view) error {
	buffer := bufio.NewWriterSize(w, 64<<10) // tabwriter writes cell by cell
	if o.format == "json" {
		if err := writeJSON(buffer, v); err != nil {
			return err
		}
		return buffer.Flush()
	}
	tw := tabwriter.NewWriter(buffer, 0, 0, 2, ' ', 0)
	v.table(tw)
	if err := tw.Flush(); err != nil {
		return err
	}
	return buffer.Flush()
}

// writeJSON writes a line. Long lists are written as they are made.
func writeJSON(w *bufio.Writer, v view) error {
	list := reflect.ValueOf(v)
	if list.Kind() != reflect.Slice || list.IsNil() {
		return json.NewEncoder(w).Encode(v)
	}
	w.WriteByte('[') // an error stays, for Flush to tell
	for i := range list.Len() {
		if i > 0 {
			w.WriteByte(',')
		}
		element, err := json.Marshal(list.Index(i).Addr().Interface())
		if err != nil {
			return err
		}
		w.Write(element)
	}
	_, err := w.WriteString("]\n")
	return err
}

// interval is a flag that may stand without a value: "-watch", "-watch=5s" or "-watch 5s".
type interval time.Duration

const usualInterval = 2 * time.Second

func (*interval) IsBoolFlag() bool { return true }

func (i *interval) String() string {
	if *i == 0 {
		return ""
	}
	return time.Duration(*i).String()
}

// Set takes "true", which package flag gives for a flag without a value.
func (i *interval) Set(s string) error {
	if on, err := strconv.ParseBool(s); err == nil {
		*i = 0
		if on {
			*i = interval(usualInterval)
		}
		return nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return fmt.Errorf("want a duration such as 2s")
	}
	*i = interval(d)
	return nil
}

// takesInterval sets a flag of intervals to the word behind it, if these are such.
func takesInterval(fs *flag.FlagSet, arg, word string) bool {
	name, dashed := strings.CutPrefix(arg, "-")
	f := fs.Lookup(strings.TrimPrefix(name, "-"))
	if !dashed || f == nil {
		return false
	}
	if _, err := time.ParseDuration(word); err != nil {
		return false
	}
	every, ok := f.Value.(*interval)
	return ok && every.Set(word) == nil
}
