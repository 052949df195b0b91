package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sluice/userspace/route"
)

func TestWriteAndRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table")
	want, meta := full(t), fullMeta()
	for range 2 { // the second one replaces the first
		if err := Write(path, want, meta); err != nil {
			t.Fatal(err)
		}
	}
	got, gotMeta, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := route.Diff(want, got); !d.Empty() {
		t.Errorf("changed on the way: %s", d)
	}
	if diff := cmp.Diff(meta, gotMeta, cmpopts.EquateComparable(meta.Listeners[0])); diff != "" {
		t.Error(diff)
	}
	if got.Source() != "xds (from disk)" {
		t.Errorf("source %q", got.Source())
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v (error: %v)", info.Mode(), err)
	}
	if all := names(t, filepath.Dir(path)); all != "table" {
		t.Errorf("files: %s", all)
	}
}

// TestFile shows what head does, and that it does not change by chance.
func TestFile(t *testing.T) {
	want := `sluice-table 1
{"source":"xds","identity":"dc1/gw","listeners":["10.0.0.1:8443","[::]:8443"],"written":"2026-01-02T03:04:05.000000678Z","routes":4,"clusters":2}
{"cluster":{"name":"empty","policy":"round_robin","connect_timeout":"0s","panic_threshold":50,"discovery":"strict"}}
{"cluster":{"name":"web","policy":"least_request","connect_timeout":"1.5s","panic_threshold":-1,"send_proxy":true,"discovery":"logical","endpoints":[{"addrs":["10.0.0.1:20000"],"weight":128,"health":"passing"},{"addrs":["[fd00::1]:20000"],"weight":2,"health":"critical"},{"addrs":["10.0.0.2:443","10.0.0.3:443"],"host":"api.example.net.","port":443,"weight":1,"health":"passing"},{"host":"web.example.net","port":443,"weight":1,"health":"warning"}]}}
{"route":{"name":"*","cluster":"empty"}}
{"route":{"name":"*.web.x","cluster":"web"}}
{"route":{"name":"no.x","refuse":"http & \"quotes\" <β>\n"}}
{"route":{"name":"web.x","cluster":"web","max_flows":7,"path":"splice","credit":100000}}
`
	got := string(text(t, full(t), fullMeta()))
	if diff := cmp.Diff(string(whole(strings.SplitAfterN(want, "\n", 2)[1])), got); diff != "" {
		t.Error(diff)
	}
}

func TestNothing(t *testing.T) {
	_, _, err := Read(filepath.Join(t.TempDir(), "table"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	none := build(t, "xds")
	got, _, err := decode(text(t, none, Meta{}))
	if err != nil || !route.Diff(none, got).Empty() {
		t.Errorf("an empty table: %v", err)
	}
	if err := Write(filepath.Join(t.TempDir(), "table"), nil, Meta{}); err == nil {
		t.Error("no table was written")
	}
}

func TestSourceIsOnceFromDisk(t *testing.T) {
	got, _, err := decode(text(t, build(t, ""), Meta{Source: "catalog" + fromDisk}))
	if err != nil || got.Source() != "catalog (from disk)" {
		t.Errorf("source %q (error: %v)", got.Source(), err)
	}
}

func TestBadFiles(t *testing.T) {
	good := string(text(t, full(t), fullMeta()))
	head := `{"source":"xds","identity":"x","written":"2026-01-02T03:04:05Z","routes":1,"clusters":1}` + "\n"
	cluster := `{"cluster":{"name":"c","policy":"random","connect_timeout":"1s","panic_threshold":50,"discovery":"strict"}}` + "\n"
	leads := `{"route":{"name":"r","cluster":"c"}}` + "\n"
	if _, _, err := decode(whole(head + cluster + leads)); err != nil {
		t.Fatal(err)
	}
	in := func(old, new string) string {
		return string(whole(head + strings.Replace(cluster, old, new, 1) + leads))
	}
	for _, test := range []struct{ name, text, want string }{
		{"empty", "", "is empty"},
		{"foreign", "hello\nworld\n", "is not a table of Sluice's"},
		{"binary", "\x7fELF" + strings.Repeat("\x00", 1000), "is not a table of Sluice's"},
		{"no number", magic + "\n" + good, "is not a table of Sluice's"},
		{"newer", strings.Replace(good, magic+"1", magic+"2", 1), "has format 2, and this Sluice knows format 1"},
		{"first line alone", magic + "1\n", "is damaged: its end is missing"},
		{"first line without its end", magic + "1", "is damaged: its end is missing"},
		{"cut", good[:len(good)/2], "is damaged: its end is missing"},
		{"cut by one", good[:len(good)-1], "is damaged: its end is missing"},
		{"more", good + "\n", "is damaged: its end is missing"},
		{"changed", strings.Replace(good, "10.0.0.1", "10.0.0.9", 1), "is damaged: its checksum is another one"},
		{"another checksum", good[:len(good)-2] + "x\n", "is damaged: its checksum is another one"},
		{"nothing but checksum", string(whole("")), "line 2: EOF"},
		{"meta", string(whole("[]\n")), "line 2: json: cannot unmarshal array"},
		{"meta of the future", string(whole(`{"more":1}` + "\n")), `line 2: json: unknown field "more"`},
		{"line", string(whole(head + cluster + "x\n")), "line 4: invalid character 'x'"},
		{"neither", string(whole(head + "{}\n")), "line 3: is neither a cluster nor a route"},
		{"both", string(whole(head + cluster[:len(cluster)-2] + "," + leads[1:])), "line 3: is neither a cluster nor a route"},
		{"field of the future", in(`"policy"`, `"more":1,"policy"`), `line 3: json: unknown field "more"`},
		{"policy", in("random", "maglev"), `line 3: policy of cluster "c": "maglev" is not known`},
		{"policy by number", in("random", "3"), `line 3: cluster "c": policy 3 is not known`},
		{"discovery", in("strict", ""), `line 3: discovery of cluster "c": "" is not known`},
		{"timeout", in("1s", "1"), `line 3: connect timeout of cluster "c": time: missing unit`},
		{"name", in(`"c"`, `""`), `line 3: cluster "": has no name`},
		{"health", in(`"strict"`, `"strict","endpoints":[{"addrs":["10.0.0.1:1"],"weight":1,"health":"ill"}]`), `line 3: health of an endpoint of cluster "c": "ill" is not known`},
		{"address", in(`"strict"`, `"strict","endpoints":[{"addrs":["10.0.0.1"],"weight":1,"health":"passing"}]`), "line 3: not an ip:port"},
		{"weight", in(`"strict"`, `"strict","endpoints":[{"addrs":["10.0.0.1:1"],"weight":1000,"health":"passing"}]`), `line 3: cluster "c": endpoint 1 (10.0.0.1:1): weight 1000 is not 1 to 128`},
		{"route", string(whole(head + cluster + strings.ToUpper(leads))), `line 4: route "R": name has upper case letters`},
		{"no cluster", string(whole(head + leads)), `route r: there is no cluster "c"`},
		{"missing lines", string(whole(head + cluster)), "has 0 routes and 1 clusters, and says that it has 1 and 1"},
		{"line twice", string(whole(strings.Replace(head, `"routes":1`, `"routes":2`, 1) + cluster + leads + leads)), "has 1 routes and 1 clusters, and says that it has 2 and 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "table")
			if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			table, _, err := Read(path)
			if want := "read table from " + path + ": " + test.want; table != nil || err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
	for _, path := range []string{t.TempDir(), "/dev/null"} {
		if _, _, err := Read(path); err == nil || !strings.HasSuffix(err.Error(), "is not a regular file") {
			t.Errorf("%s: got %v", path, err)
		}
	}
}

// TestEveryCutAndFlip: no damage goes unseen.
func TestEveryCutAndFlip(t *testing.T) {
	good := text(t, full(t), fullMeta())
	for i := range good {
		if _, _, err := decode(good[:i]); err == nil {
			t.Errorf("cut to %d bytes", i)
		}
		bad := bytes.Clone(good)
		bad[i] ^= 0x20
		if _, _, err := decode(bad); err == nil {
			t.Errorf("byte %d is another one", i)
		}
	}
}

func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "table")
	if err := Write(path, full(t), fullMeta()); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	full := errors.New("disk full")
	if err := replace(path, func(w io.Writer) error {
		fmt.Fprint(w, "half of a ta")
		return full
	}); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the old file changed (error: %v)", err)
	}
	if all := names(t, dir); all != "table" {
		t.Errorf("files: %s", all)
	}

	for path, want := range map[string]string{
		filepath.Join(dir, "none", "table"): "open: no such file or directory",
		filepath.Join(path, "table"):        "open: not a directory",
		dir:                                 "rename: file exists",
	} {
		err := Write(path, build(t, "xds"), Meta{})
		if err == nil || err.Error() != "write table to "+path+": "+want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if all := names(t, filepath.Dir(dir)); strings.Contains(all, temporary) {
		t.Errorf("files: %s", all)
	}
}

func TestWriteIntoCurrentDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := Write("table", full(t), fullMeta()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Read("table"); err != nil {
		t.Error(err)
	}
}

// FuzzRead reads whatever there may be.
func FuzzRead(f *testing.F) {
	good := text(f, full(f), fullMeta())
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, file []byte) { check(t, file) })
}

// FuzzLines reads whatever there may be between a good first and last line.
func FuzzLines(f *testing.F) {
	lines, err := verify(text(f, full(f), fullMeta()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(lines))
	f.Add(`{"routes":1}` + "\n" + `{"route":{"name":"x","refuse":"y"}}`)
	f.Fuzz(func(t *testing.T, lines string) { check(t, whole(lines)) })
}

// check reads a file. What comes out is a table that can be written and read again.
func check(t *testing.T, file []byte) {
	table, meta, err := decode(file)
	if err != nil {
		if table != nil {
			t.Error("a table with an error")
		}
		return
	}
	again, _, err := decode(text(t, table, meta))
	if err != nil {
		t.Fatal(err)
	}
	if d := route.Diff(table, again); !d.Empty() {
		t.Errorf("changed on the way: %s", d)
	}
}
