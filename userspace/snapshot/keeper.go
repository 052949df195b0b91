package snapshot

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice/userspace/route"
)

const (
	// defaultInterval is the least time between two writes.
	defaultInterval = 5 * time.Second

	// leftover is the age from which a temporary file cannot be one that is being
	// written, but is of a process that was killed.
	leftover = time.Hour
)

// Keeper puts the newest table on disk, not too often. It is for any number of
// goroutines.
type Keeper struct {
	path     string
	log      *slog.Logger
	interval time.Duration // the least between two writes

	mu        sync.Mutex // held for moments only
	table     *route.Table
	identity  string
	listeners []netip.AddrPort
	wake      chan struct{} // has one if there is something to write

	failures atomic.Uint64
	told     string // the failure that was logged last; of Run
}

// NewKeeper returns a keeper of this file. The log may be nil, for slog.Default.
func NewKeeper(path string, log *slog.Logger) *Keeper {
	if log == nil {
		log = slog.Default()
	}
	return &Keeper{path: path, log: log, interval: defaultInterval, wake: make(chan struct{}, 1)}
}

// Keep has Run write the table, unless a newer one comes first. It does not wait.
func (k *Keeper) Keep(t *route.Table) {
	k.mu.Lock()
	k.table = t
	k.mu.Unlock()
	k.rouse()
}

// Describe sets what is written beside the table: see Meta.
func (k *Keeper) Describe(identity string, listeners []netip.AddrPort) {
	k.mu.Lock()
	same := k.identity == identity && slices.Equal(k.listeners, listeners)
	k.identity, k.listeners = identity, slices.Clone(listeners)
	k.mu.Unlock()
	if !same {
		k.rouse()
	}
}

func (k *Keeper) rouse() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Failures counts the writes that failed.
func (k *Keeper) Failures() uint64 { return k.failures.Load() }

// Run writes until the context is done, and then what is newest once more; the error
// is that of this last time. It is called once. While the disk fails it goes on
// trying.
func (k *Keeper) Run(ctx context.Context) error {
	k.sweep()
	for {
		select {
		case <-ctx.Done():
			return k.last()
		case <-k.wake:
		}
		if k.write() != nil {
			k.rouse()
		}
		pause := time.NewTimer(k.interval)
		select {
		case <-ctx.Done():
			pause.Stop()
			return k.last()
		case <-pause.C:
		}
	}
}

// last writes what is not written yet.
func (k *Keeper) last() error {
	select {
	case <-k.wake:
		return k.write()
	default:
		return nil
	}
}

func (k *Keeper) write() error {
	k.mu.Lock()
	t, meta := k.table, Meta{Identity: k.identity, Listeners: k.listeners, Written: time.Now()}
	k.mu.Unlock()
	if t == nil {
		return nil // described, and no table yet
	}
	meta.Source = strings.TrimSuffix(t.Source(), fromDisk)
	err := Write(k.path, t, meta)
	if err != nil {
		k.failures.Add(1)
		if text := err.Error(); text != k.told {
			k.told = text
			k.log.Error("the table cannot be kept on disk: a restart while Consul is away would begin with an older one, or none", "error", err)
		}
		return err
	}
	if k.told != "" {
		k.told = ""
		k.log.Info("the table is kept on disk again", "file", k.path)
	}
	return nil
}

// sweep removes what killed processes did not finish writing.
func (k *Keeper) sweep() {
	dir, base := filepath.Split(k.path)
	if dir == "" {
		dir = "."
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return // the first write will tell
	}
	for _, f := range files {
		if !strings.HasPrefix(f.Name(), base+".") || !strings.HasSuffix(f.Name(), temporary) {
			continue
		}
		if info, err := f.Info(); err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > leftover {
			os.Remove(filepath.Join(dir, f.Name()))
		}
	}
}
