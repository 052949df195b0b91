package static

import (
	"context"
	"log/slog"
	"time"

	"github.com/fsnotify/fsnotify"

	"sluice/userspace/route"
)

// maxLines is how many lines of a bad file's Problems are logged.
const maxLines = 20

// Source publishes the table of a file, and a new one whenever the file changes.
type Source struct {
	Log      *slog.Logger    // slog.Default if nil
	OnReload func(err error) // called after each reading but the first, if not nil; it must not block

	file  string
	paths []string
	asked chan struct{}

	settle time.Duration // a changed file is read when it was quiet for so long,
	hurry  time.Duration // or this long after the first change
	tick   time.Duration // and it is looked at this often whatever was seen
	open   func() (*fsnotify.Watcher, error)
}

// New returns a source for the file. Paths are as in Read.
func New(file string, paths ...string) *Source {
	return &Source{
		file:   file,
		paths:  paths,
		asked:  make(chan struct{}, 1),
		settle: 100 * time.Millisecond,
		hurry:  time.Second,
		tick:   10 * time.Second,
		open:   fsnotify.NewWatcher,
	}
}

// Reload has the file read again even if it looks unchanged. It does not wait for
// that.
func (s *Source) Reload() {
	select {
	case s.asked <- struct{}{}:
	default: // someone asked already
	}
}

// Run reads the file and publishes its table, and does so again for each change
// until the context is done. The error is that of the first reading, as from Read;
// later, a bad file is logged, and the last table stays. Publish is called with
// one table at a time, in their order.
func (s *Source) Run(ctx context.Context, publish func(*route.Table)) error {
	log := s.Log
	if log == nil {
		log = slog.Default()
	}
	log = log.With("file", s.file)
	w, watchErr := newWatcher(s.file, s.open) // before reading, so that no change is missed
	defer w.close()
	r := &reader{Source: s, log: log, publish: publish}
	if err := r.first(); err != nil {
		return err
	}
	if watchErr != nil {
		log.Warn("cannot watch the routes file, will look at it now and then", "every", s.tick, "err", watchErr)
	}
	tick := time.NewTicker(s.tick)
	defer tick.Stop()
	// quiet goes off when a burst of events is over.
	quiet := time.NewTimer(0)
	<-quiet.C
	var burst time.Time // when it began; zero when there is none
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.events():
			if r.changed() {
				burst = s.wait(quiet, burst)
			}
		case <-w.errors(): // such as too many events, of which one may have been ours
			burst = s.wait(quiet, burst)
		case <-quiet.C:
			burst = time.Time{}
			r.look(w)
		case <-tick.C:
			r.look(w)
		case <-s.asked:
			_ = w.follow()
			r.again()
		}
	}
}

// wait puts the end of a burst off, but not for ever.
func (s *Source) wait(quiet *time.Timer, burst time.Time) time.Time {
	if burst.IsZero() {
		burst = time.Now()
	}
	quiet.Reset(min(s.settle, time.Until(burst.Add(s.hurry))))
	return burst
}

// reader is a Source at work.
type reader struct {
	*Source
	log     *slog.Logger
	publish func(*route.Table)
	seen    stamp // the file as it was read last, good or bad
	last    stamp // and as it was at the last event
	table   *route.Table
}

// read makes the table of the file as it is now.
func (r *reader) read() (*route.Table, error) {
	r.seen = stampOf(r.file) // before reading: what changes meanwhile is seen next time
	if r.seen.fresh() {
		r.seen.ino = 0
	}
	r.last = r.seen
	routes, clusters, err := Read(r.file, r.paths...)
	if err != nil {
		return nil, err
	}
	return route.Replace(r.table, r.file, routes, clusters)
}

func (r *reader) first() error {
	t, err := r.read()
	if err != nil {
		return err
	}
	r.log.Info("routes file read", "table", t.String())
	r.table = t
	r.publish(t)
	return nil
}

// changed tells whether the file is another than at the last event. Others write
// in its directory too, our own access log perhaps, and must not keep a burst
// going.
func (r *reader) changed() bool {
	now := stampOf(r.file)
	changed := now != r.last && now != r.seen
	r.last = now
	return changed
}

// look reads the file if it changed.
func (r *reader) look(w *watcher) {
	_ = w.follow() // without a watch, the tick still comes here
	if stampOf(r.file) != r.seen {
		r.again()
	}
}

// again reads the file, and publishes its table if that is good and new.
func (r *reader) again() {
	t, err := r.read()
	switch {
	case err != nil:
		r.refuse(err)
	default:
		if delta := route.Diff(r.table, t); delta.Empty() {
			r.log.Info("routes file read again, nothing changed")
		} else {
			r.log.Info("routes file read again", "change", delta.String(), "table", t.String())
			r.table = t
			r.publish(t)
		}
	}
	if r.OnReload != nil {
		r.OnReload(err)
	}
}

func (r *reader) refuse(err error) {
	lines := split(err)
	r.log.Error("routes file not taken, the table stays as it was", "problems", len(lines), "table", r.table.String())
	for i, line := range lines {
		if i == maxLines {
			r.log.Error("more problems in the routes file", "more", len(lines)-i)
			return
		}
		r.log.Error("problem in the routes file", "problem", line)
	}
}
