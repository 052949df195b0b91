package snapshot

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/userspace/route"
)

const (
	magic   = "sluice-table "
	format  = 1
	trailer = "sha256 "

	// trailerSize is that of the last line in bytes.
	trailerSize = len(trailer) + 2*sha256.Size + 1

	// maxFile bounds what is read, in bytes. 100,000 services are 30 MB.
	maxFile = 1 << 30

	// fromDisk follows the source's name in that of the table.
	fromDisk = " (from disk)"

	// temporary is how the files end that are being written.
	temporary = ".tmp"
)

// Meta is what is kept beside the table.
type Meta struct {
	Source    string           // of the table: "xds", "catalog"
	Identity  string           // of the gateway it is for: "dc1/mesh-gateway"
	Listeners []netip.AddrPort // that the gateway had
	Written   time.Time        // when the table was put on disk, after it last changed
}

// Write puts the table into the file, in place of what is there, so that a crash
// leaves one or the other. Its group may read the file.
func Write(path string, t *route.Table, meta Meta) error {
	if t == nil {
		return fmt.Errorf("write table to %s: there is no table", path)
	}
	if err := replace(path, func(w io.Writer) error { return encode(w, t, meta) }); err != nil {
		return fmt.Errorf("write table to %s: %w", path, bare(err))
	}
	return nil
}

// replace writes a new file beside the old one and puts it in its place.
func replace(path string, write func(io.Writer) error) (err error) {
	dir, base := filepath.Split(path)
	dir = cmp.Or(dir, ".")
	f, err := os.CreateTemp(dir, base+".*"+temporary)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := f.Chmod(0o640); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir puts the names of a directory on disk, a rename among them.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// bare is the error without the temporary file's name, which is another one each
// time.
func bare(err error) error {
	var path *os.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return fmt.Errorf("%s: %w", path.Op, path.Err)
	case errors.As(err, &link):
		return fmt.Errorf("%s: %w", link.Op, link.Err)
	}
	return err
}

// encode writes the whole file, sorted by names.
func encode(to io.Writer, t *route.Table, meta Meta) error {
	sum := sha256.New()
	w := bufio.NewWriterSize(io.MultiWriter(to, sum), 64<<10)
	fmt.Fprintf(w, "%s%d\n", magic, format)
	line := json.NewEncoder(w) // a line each
	line.SetEscapeHTML(false)
	routes, clusters := t.Len()
	if err := line.Encode(&headLine{meta.Source, meta.Identity, meta.Listeners, meta.Written.UTC(), routes, clusters}); err != nil {
		return fmt.Errorf("encode what is beside the table: %w", err)
	}
	var endpoints []endpointLine
	for _, c := range slices.SortedFunc(t.Clusters(), func(a, b *route.Cluster) int { return cmp.Compare(a.Name, b.Name) }) {
		l := lineOfCluster(c, endpoints[:0])
		endpoints = l.Endpoints
		if err := line.Encode(itemLine{Cluster: l}); err != nil {
			return fmt.Errorf("encode cluster %s: %w", c.Name, err)
		}
	}
	for _, r := range slices.SortedFunc(t.Routes(), func(a, b *route.Route) int { return cmp.Compare(a.Name, b.Name) }) {
		if err := line.Encode(itemLine{Route: lineOfRoute(r)}); err != nil {
			return fmt.Errorf("encode route %s: %w", r.Name, err)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(to, "%s%x\n", trailer, sum.Sum(nil))
	return err
}

// Read returns the table of the file. The error is fs.ErrNotExist if there is none,
// and otherwise says what is wrong with it.
func Read(path string) (*route.Table, Meta, error) {
	t, meta, err := read(path)
	if err != nil {
		return nil, Meta{}, fmt.Errorf("read table from %s: %w", path, bare(err))
	}
	return t, meta, nil
}

func read(path string) (*route.Table, Meta, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, Meta{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, Meta{}, err
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, Meta{}, errors.New("is not a regular file")
	case info.Size() > maxFile:
		return nil, Meta{}, fmt.Errorf("has %d bytes, which no table has", info.Size())
	}
	text := make([]byte, info.Size())
	if _, err := io.ReadFull(f, text); err != nil {
		return nil, Meta{}, err
	}
	return decode(text)
}

// decode is the table of a whole file.
func decode(text []byte) (*route.Table, Meta, error) {
	lines, err := verify(text)
	if err != nil {
		return nil, Meta{}, err
	}
	line := json.NewDecoder(bytes.NewReader(lines))
	line.DisallowUnknownFields()
	var head headLine
	if err := line.Decode(&head); err != nil {
		return nil, Meta{}, fmt.Errorf("line 2: %w", err)
	}
	b := route.NewBuilder(nil, strings.TrimSuffix(head.Source, fromDisk)+fromDisk)
	for n := 3; ; n++ {
		var item itemLine
		if err := line.Decode(&item); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, Meta{}, fmt.Errorf("line %d: %w", n, err)
		}
		if err := put(b, &item); err != nil {
			return nil, Meta{}, fmt.Errorf("line %d: %w", n, err)
		}
	}
	t, err := b.Build()
	if err != nil {
		return nil, Meta{}, err
	}
	if routes, clusters := t.Len(); routes != head.Routes || clusters != head.Clusters {
		return nil, Meta{}, fmt.Errorf("has %d routes and %d clusters, and says that it has %d and %d",
			routes, clusters, head.Routes, head.Clusters)
	}
	return t, Meta{head.Source, head.Identity, head.Listeners, head.Written}, nil
}

func put(b *route.Builder, item *itemLine) error {
	switch {
	case item.Cluster != nil && item.Route == nil:
		c, err := item.Cluster.cluster()
		if err != nil {
			return err
		}
		return b.PutCluster(c)
	case item.Route != nil && item.Cluster == nil:
		return b.PutRoute(item.Route.route())
	}
	return errors.New("is neither a cluster nor a route")
}

// verify returns the lines between the first one and the last one, having checked
// these two.
func verify(text []byte) ([]byte, error) {
	first, rest, whole := bytes.Cut(text, []byte("\n"))
	number, ours := strings.CutPrefix(string(first[:min(len(first), 100)]), magic)
	version, err := strconv.ParseUint(number, 10, 32)
	switch {
	case len(text) == 0:
		return nil, errors.New("is empty")
	case !ours || err != nil:
		return nil, errors.New("is not a table of Sluice's")
	case version != format:
		return nil, fmt.Errorf("has format %d, and this Sluice knows format %d", version, format)
	}
	at := len(text) - trailerSize
	if !whole || at < len(first)+1 || !bytes.HasPrefix(text[at:], []byte(trailer)) || text[at-1] != '\n' || text[len(text)-1] != '\n' {
		return nil, errors.New("is damaged: its end is missing")
	}
	sum := sha256.Sum256(text[:at])
	if hex.EncodeToString(sum[:]) != string(text[at+len(trailer):len(text)-1]) {
		return nil, errors.New("is damaged: its checksum is another one")
	}
	return rest[:len(rest)-trailerSize], nil
}
