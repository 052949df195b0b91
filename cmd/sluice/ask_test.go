package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/cli"

	"sluice/userspace/admin"
	"sluice/userspace/admission"
	"sluice/userspace/gateway"
	"sluice/userspace/route"
)

// fakeAgent answers at an admin socket.
type fakeAgent struct {
	flows   []admin.Flow
	status  admin.Status
	asked   chan gateway.Selection
	drained chan time.Duration
	err     error

	policies []admin.Policy // that were set, one request after the other
}

func (f *fakeAgent) Status(context.Context) (*admin.Status, error) { return &f.status, f.err }

func (f *fakeAgent) Flows(_ context.Context, which gateway.Selection, yield func(*admin.Flow) error) error {
	f.asked <- which
	for i := range f.flows {
		if err := yield(&f.flows[i]); err != nil {
			return err
		}
	}
	return f.err
}

func (f *fakeAgent) Kill(_ context.Context, which gateway.Selection) (int, error) {
	f.asked <- which
	return 2, f.err
}

func (f *fakeAgent) Source(_ context.Context, address netip.Addr) (*admission.Standing, error) {
	return &admission.Standing{Address: address}, f.err
}

func (f *fakeAgent) Drain(_ context.Context, d time.Duration) error {
	f.drained <- d
	return f.err
}

func (f *fakeAgent) SetPolicy(_ context.Context, name string, o route.Options) error {
	f.policies = append(f.policies, admin.Policy{Route: name, Path: o.Path, Credit: o.Credit, MaxFlows: o.MaxFlows})
	return f.err
}

func (f *fakeAgent) Reload(context.Context) (string, error) { return "all read", f.err }

// answering serves f until the test ends, or close is called.
func answering(t *testing.T, f *fakeAgent) (socket string, close func()) {
	t.Helper()
	f.asked, f.drained = make(chan gateway.Selection, 99), make(chan time.Duration, 99)
	socket = filepath.Join(t.TempDir(), "a.sock")
	s, err := admin.Listen(admin.Options{Socket: socket, Log: slog.New(slog.DiscardHandler)}, f)
	if err != nil {
		t.Fatal(err)
	}
	close = func() { s.Close(context.Background()) }
	t.Cleanup(close)
	return socket, close
}

// someFlows have an order of their own by each column.
func someFlows() []admin.Flow {
	now := time.Now().Add(-30 * time.Minute) // far from where ages change
	addr := netip.MustParseAddrPort
	return []admin.Flow{
		{
			ID: 3, Source: addr("10.0.0.9:1"), SNI: "b.test", Route: "b.test", Endpoint: "10.1.0.1:80", Path: "splice", State: "carried",
			Sent: 10 << 20, Received: 5, SentRate: 1, Start: now.Add(-80 * time.Hour),
			Downstream: &admin.TCP{RTT: 0.0123456, Retransmits: 7}, UpstreamTCP: &admin.TCP{RTT: 0.000123},
		},
		{ID: 1, Source: addr("[2001:db8::1]:1"), State: "hello", Start: now.Add(-60 * time.Hour)},
		{
			ID: 2, Source: addr("10.0.0.8:1"), SNI: "a.test", Route: "*.test", Endpoint: "10.1.0.2:80", Path: "sockmap", State: "carried",
			Sent: 1500, SentRate: 2048, Start: now.Add(-70 * time.Hour),
			Downstream: &admin.TCP{RTT: 2.5}, UpstreamTCP: &admin.TCP{RTT: 0.000007, Retransmits: 1},
		},
		{ID: 4, Source: addr("10.0.0.7:1"), SNI: "c.test", State: "refusing", Refused: "unknown_name", Start: now.Add(-90 * time.Hour)},
	}
}

func TestFlowsTable(t *testing.T) {
	socket, _ := answering(t, &fakeAgent{flows: someFlows()})
	status, stdout, stderr := ask(t, socket, flowsVerb)
	if status != exitOK || stderr != "" {
		t.Fatalf("status %d, %q", status, stderr)
	}
	var got []string
	spaces := regexp.MustCompile(" +")
	for line := range strings.Lines(stdout) {
		got = append(got, spaces.ReplaceAllString(strings.TrimSpace(line), " "))
	}
	want := []string{
		"ID SOURCE SNI ENDPOINT PATH STATE SENT RECEIVED RATE RTT RETRANS AGE",
		"1 [2001:db8::1]:1 - - - hello 0B 0B 0B/s -/- -/- 2d12h",
		"2 10.0.0.8:1 a.test 10.1.0.2:80 sockmap carried 1.5KiB 0B 2.0KiB/s 2.5s/7µs 0/1 2d22h",
		"3 10.0.0.9:1 b.test 10.1.0.1:80 splice carried 10.0MiB 5B 1B/s 12.3ms/123µs 7/0 3d08h",
		"4 10.0.0.7:1 c.test - - refusing: unknown_name 0B 0B 0B/s -/- -/- 3d18h",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestFlowsSort(t *testing.T) {
	socket, _ := answering(t, &fakeAgent{flows: someFlows()})
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "[1 2 3 4]"},
		{[]string{"-sort=rate"}, "[2 3 1 4]"},
		{[]string{"-sort=bytes", "-limit=1"}, "[3]"},
	} {
		status, stdout, stderr := ask(t, socket, flowsVerb, append(test.args, "-format=json")...)
		var flows []admin.Flow
		if err := json.Unmarshal([]byte(stdout), &flows); err != nil || status != exitOK {
			t.Fatalf("%v: status %d, %v, %q", test.args, status, err, stderr)
		}
		var ids []uint64
		for _, f := range flows {
			ids = append(ids, f.ID)
		}
		if got := fmt.Sprint(ids); got != test.want {
			t.Errorf("%v: %s, want %s", test.args, got, test.want)
		}
	}
}

func TestSelectionFlags(t *testing.T) {
	f := &fakeAgent{}
	socket, _ := answering(t, f)
	prefix := netip.MustParsePrefix
	for _, test := range []struct {
		verb func(environment) cli.Command
		args []string
		want gateway.Selection
	}{
		{flowsVerb, nil, gateway.Selection{}},
		{flowsVerb, []string{"-route=*.test", "-source=10.1.2.3/8"}, gateway.Selection{Route: "*.test", Source: prefix("10.0.0.0/8")}},
		{killVerb, []string{"17"}, gateway.Selection{ID: 17}},
		{killVerb, []string{"-source", "2001:db8::1"}, gateway.Selection{Source: prefix("2001:db8::1/128")}},
		{killVerb, []string{"-route", "a.test", "17"}, gateway.Selection{Route: "a.test", ID: 17}},
	} {
		if status, _, stderr := ask(t, socket, test.verb, test.args...); status != exitOK {
			t.Errorf("%v: status %d, %q", test.args, status, stderr)
			continue
		}
		if got := <-f.asked; got != test.want {
			t.Errorf("%v asks for %+v, want %+v", test.args, got, test.want)
		}
	}
}

func TestWrongUse(t *testing.T) {
	for _, test := range []struct {
		verb func(environment) cli.Command
		args []string
		want string
	}{
		{flowsVerb, []string{"-sort=size"}, `sorted by "size"`},
		{flowsVerb, []string{"-limit=-1"}, "limit"},
		{flowsVerb, []string{"-format=xml"}, "-format"},
		{flowsVerb, []string{"-source=home"}, "home"},
		{flowsVerb, []string{"7"}, "unexpected argument"},
		{statusVerb, []string{"-format=xml"}, "-format"},
		{killVerb, nil, "which flows?"},
		{killVerb, []string{"web"}, `"web" is not the number of a flow`},
		{killVerb, []string{"0"}, `"0" is not`},
		{killVerb, []string{"1", "2"}, "unexpected argument"},
		{drainVerb, []string{"-deadline=-1s"}, "-deadline"},
		{drainVerb, []string{"now"}, "unexpected argument"},
		{reloadVerb, []string{"now"}, "unexpected argument"},
	} {
		if status, stdout, stderr := ask(t, "/nowhere", test.verb, test.args...); status != exitUsage || stdout != "" || !strings.Contains(stderr, test.want) {
			t.Errorf("%v: status %d, %q, %q; want %q", test.args, status, stdout, stderr, test.want)
		}
	}
}

// TestNobodyAnswers, and an agent that fails: exit status 1, and the reason.
func TestNobodyAnswers(t *testing.T) {
	failing, _ := answering(t, &fakeAgent{err: errors.New("it is broken")})
	dead := filepath.Join(t.TempDir(), "a.sock")
	for name, run := range map[string]struct {
		verb func(environment) cli.Command
		args []string
	}{
		"status": {statusVerb, nil}, "flows": {flowsVerb, nil}, "kill": {killVerb, []string{"1"}}, "drain": {drainVerb, nil}, "reload": {reloadVerb, nil},
	} {
		status, stdout, stderr := ask(t, dead, run.verb, run.args...)
		if want := "sluice " + name + ": no agent answers at " + dead + ": is it running?\n"; status != exitError || stdout != "" || stderr != want {
			t.Errorf("status %d, %q, %q; want %q", status, stdout, stderr, want)
		}
		status, stdout, stderr = ask(t, failing, run.verb, run.args...)
		if status != exitError || stdout != "" || !strings.HasPrefix(stderr, "sluice "+name+": ") || !strings.HasSuffix(stderr, "it is broken\n") {
			t.Errorf("an agent that fails: status %d, %q, %q", status, stdout, stderr)
		}
	}
}

func TestStatusTable(t *testing.T) {
	f := &fakeAgent{status: admin.Status{
		Version: "1.2", PID: 7, Instance: "blue", State: "draining", Uptime: 3700, Kernel: "6.18.1",
		Table:     &admin.Table{Version: 5, Source: "xds", Age: 1.25, Routes: 3, Clusters: 2, Since: time.Now().Add(-101 * time.Hour / 2), Kept: 1},
		Listeners: []netip.AddrPort{netip.MustParseAddrPort("[::]:8443"), netip.MustParseAddrPort("10.0.0.1:443")},
		Paths:     []admin.Path{{Name: "splice", On: true}, {Name: "sockmap", Why: "no rights"}},
		Maps:      []admin.Fill{{Name: "ways", Used: 2, Max: 200}},
		Flows:     4, Begun: 9, Sent: 2048, Received: 1, Rates: admin.Rates{Flows: 1.5, Sent: 1 << 30},
		Errors: []admin.Problem{{Time: time.Now().Add(-101 * time.Hour / 2), Text: "level=WARN msg=odd"}},
	}}
	socket, _ := answering(t, f)
	status, stdout, stderr := ask(t, socket, statusVerb)
	want := `Version:       1.2, process 7, instance blue
State:         draining, up 1h01m
Kernel:        6.18.1
Table:         5 from xds, routes: 3, clusters: 2, age: 1s, kept though the source has lost them: 1
Source:        not connected for 2d02h: the last table stays
Listeners:     [::]:8443, 10.0.0.1:443
Path splice:   on
Path sockmap:  off: no rights
Map ways:      2 of 200
Flows:         4 now, 9 since the start, 2/s new
Sent:          2.0KiB, 1.0GiB/s
Received:      1B, 0B/s
Problem:       2d02h ago: level=WARN msg=odd
`
	if diff := cmp.Diff(want, stdout); status != exitOK || stderr != "" || diff != "" {
		t.Errorf("status %d, %q, table (-want +got):\n%s", status, stderr, diff)
	}
}

func TestDrainWait(t *testing.T) {
	f := &fakeAgent{}
	socket, close := answering(t, f)
	go func() {
		<-f.drained
		close()
	}()
	status, stdout, stderr := ask(t, socket, drainVerb, "-wait")
	if status != exitOK || stdout != "the gateway drains\nthe gateway has ended\n" {
		t.Errorf("status %d, %q, %q", status, stdout, stderr)
	}
}

// TestReach: the command line goes before the environment, and what names a socket
// before what names an instance.
func TestReach(t *testing.T) {
	for _, test := range []struct {
		name  string
		reach reach
		env   map[string]string
		want  string
	}{
		{"nothing", reach{}, nil, "/run/sluice/default.sock"},
		{"instance", reach{instance: "blue"}, map[string]string{"SLUICE_ADMIN_SOCKET": "/x", "SLUICE_INSTANCE": "y"}, "/run/sluice/blue.sock"},
		{"socket", reach{instance: "blue", socket: "/z"}, map[string]string{"SLUICE_ADMIN_SOCKET": "/x"}, "/z"},
		{"environment's socket", reach{}, map[string]string{"SLUICE_ADMIN_SOCKET": "/nowhere/x", "SLUICE_INSTANCE": "y"}, "/nowhere/x"},
		{"environment's instance", reach{}, map[string]string{"SLUICE_INSTANCE": "no-such"}, "/run/sluice/no-such.sock"},
	} {
		env := environment{lookupEnv: func(name string) (string, bool) { v, ok := test.env[name]; return v, ok }}
		if got := test.reach.path(env); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestForPeople(t *testing.T) {
	for n, want := range map[float64]string{0: "0B", 1023: "1023B", 1024: "1.0KiB", 1536: "1.5KiB", 150 << 10: "150KiB", 1 << 20: "1.0MiB", 1 << 62: "4096PiB"} {
		if got := quantity(n); got != want {
			t.Errorf("%v bytes: %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		1234567: "1ms", 1500 * time.Millisecond: "2s", 90 * time.Second: "1m30s", 5 * time.Hour: "5h00m", 50 * time.Hour: "2d02h",
	} {
		if got := age(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
	for s, want := range map[float64]string{0: "0s", 0.000007: "7µs", 0.000123: "123µs", 0.0012345: "1.23ms", 0.123456: "123ms", 2.5: "2.5s"} {
		if got := roundTrip(s); got != want {
			t.Errorf("%v s: %s, want %s", s, got, want)
		}
	}
}

// TestHelp: each verb has a synopsis, and help with all of its flags.
func TestHelp(t *testing.T) {
	for name, verb := range map[string]func(environment) cli.Command{
		"status": statusVerb, "flows": flowsVerb, "kill": killVerb, "drain": drainVerb, "reload": reloadVerb,
	} {
		var none bytes.Buffer
		command := verb(environment{&none, &none, nil})
		if help := command.Help(); !strings.HasPrefix(help, "Usage: sluice "+name) || !strings.Contains(help, "-socket=<path>") || command.Synopsis() == "" {
			t.Errorf("%s: %q, help:\n%s", name, command.Synopsis(), help)
		}
	}
}
