package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/cli"

	"sluice/userspace/admin"
	"sluice/userspace/gateway"
)

// ask runs a verb with a socket, and returns what it printed.
func ask(t *testing.T, socket string, verb func(environment) cli.Command, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	none := func(string) (string, bool) { return "", false }
	status = verb(environment{&out, &errs, none}).Run(append([]string{"-socket", socket}, args...))
	return status, out.String(), errs.String()
}

func statusVerb(env environment) cli.Command { return &statusCommand{env} }
func flowsVerb(env environment) cli.Command  { return &flowsCommand{env} }
func killVerb(env environment) cli.Command   { return &killCommand{env} }
func drainVerb(env environment) cli.Command  { return &drainCommand{env} }
func reloadVerb(env environment) cli.Command { return &reloadCommand{env} }

// controlled starts an agent with an admin socket.
func controlled(t *testing.T, addr string) (*running, *control, string) {
	t.Helper()
	r := start(t, addr, "-path", "splice")
	socket := r.path("admin.sock")
	recent := new(admin.Recent)
	c, err := startControl(r.agent, controlSettings{socket: socket}, recent)
	if err != nil {
		t.Fatal(err)
	}
	slog.New(recent.Beside(slog.DiscardHandler)).Warn("something is odd")
	t.Cleanup(func() { c.close(context.Background()) })
	eventually(t, "the agent is ready", func() bool { return r.agent.gateway.Load() != nil && r.agent.unready() == nil })
	return r, c, socket
}

func (r *running) end() {
	r.t.Helper()
	r.signals <- os.Interrupt
	if err := r.wait(); err != nil {
		r.t.Error(err)
	}
}

// TestControl asks an agent with a flow about it, and kills it.
func TestControl(t *testing.T) {
	server := silentServer(t)
	r, _, socket := controlled(t, server)
	conn, ended := r.openFlow()

	status, stdout, stderr := ask(t, socket, statusVerb, "-format=json")
	var s admin.Status
	if err := json.Unmarshal([]byte(stdout), &s); err != nil || status != exitOK || stderr != "" {
		t.Fatalf("status %d, %v, %q, JSON:\n%s", status, err, stderr, stdout)
	}
	if s.State != "ready" || s.PID != os.Getpid() || s.Instance != "default" || s.Flows != 1 || s.Begun != 1 || s.Sent == 0 ||
		s.Uptime <= 0 || s.Kernel == "" || len(s.Listeners) != 1 || s.Table == nil || s.Table.Routes != 1 || !s.Table.Connected {
		t.Errorf("status %+v", s)
	}
	if len(s.Paths) != 3 || !s.Paths[0].On || s.Paths[1].On || s.Paths[1].Why != "no route wants it" {
		t.Errorf("paths %+v", s.Paths)
	}
	if len(s.Errors) != 1 || !strings.Contains(s.Errors[0].Text, "something is odd") {
		t.Errorf("errors %+v", s.Errors)
	}

	status, stdout, stderr = ask(t, socket, flowsVerb, "-format=json")
	var flows []admin.Flow
	if err := json.Unmarshal([]byte(stdout), &flows); err != nil || len(flows) != 1 {
		t.Fatalf("status %d, %v, %q, JSON:\n%s", status, err, stderr, stdout)
	}
	f := flows[0]
	if f.Peer.String() != conn.LocalAddr().String() || f.Route != "web.test" || f.Cluster != "c" || f.Endpoint != server ||
		f.Path != "splice" || f.State != "carried" || f.Sent == 0 || f.SNI != "web.test" {
		t.Errorf("flow %+v", f)
	}
	for side, tcp := range map[string]*admin.TCP{"downstream": f.Downstream, "upstream": f.UpstreamTCP} {
		if tcp == nil || tcp.State != "established" || tcp.RTT <= 0 || tcp.Cwnd == 0 {
			t.Errorf("%s: %+v", side, tcp)
		}
	}
	if status, stdout, stderr = ask(t, socket, killVerb, "-route", "other.test"); status != exitError || !strings.Contains(stderr, "no such flow") {
		t.Errorf("killing nothing: status %d, %q, %q", status, stdout, stderr)
	}
	if status, stdout, stderr = ask(t, socket, killVerb, "-source", "127.0.0.0/8", strconv.FormatUint(f.ID, 10)); status != exitOK || stdout != "flows reset: 1\n" {
		t.Errorf("kill: status %d, %q, %q", status, stdout, stderr)
	}
	if err := <-ended; err == nil {
		t.Error("the client's handshake went well")
	}
	r.end()
}

// TestControlRates measures a flow that moves bytes all the time.
func TestControlRates(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		for err == nil {
			_, err = c.Write(make([]byte, 16<<10))
		}
	}()
	r, _, socket := controlled(t, l.Addr().String())
	conn := r.dial()
	defer conn.Close()
	hello := clientHello(t, "web.test")
	if _, err := conn.Write(hello); err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, conn)
	client := admin.NewClient(socket)
	defer client.Close()
	var flow admin.Flow
	eventually(t, "a flow with a rate", func() bool {
		err := client.EachFlow(t.Context(), gateway.Selection{Route: "web.test"}, admin.Order{}, func(f *admin.Flow) error { flow = *f; return nil })
		return err == nil && flow.ReceivedRate > 0
	})
	if flow.SentRate != 0 || flow.Sent != uint64(len(hello)) || !flow.Active.After(flow.Start) {
		t.Errorf("flow %+v", flow)
	}
	eventually(t, "a rate of all", func() bool {
		s, err := client.Status(t.Context())
		return err == nil && s.Rates.Received > 0
	})
	conn.Close()
	r.end()
}

func TestControlReload(t *testing.T) {
	r, _, socket := controlled(t, silentServer(t))
	status, stdout, stderr := ask(t, socket, reloadVerb)
	if status != exitOK || !strings.Contains(stdout, "routes.hcl read again") {
		t.Errorf("status %d, %q, %q", status, stdout, stderr)
	}
	r.waitLog("reloading", 1)
	if err := os.WriteFile(r.path("routes.hcl"), []byte("route {"), 0o600); err != nil {
		t.Fatal(err)
	}
	status, stdout, stderr = ask(t, socket, reloadVerb)
	if status != exitError || !strings.Contains(stderr, "the routes stay as they are") || !strings.Contains(stderr, "routes.hcl:1") {
		t.Errorf("status %d, %q, %q", status, stdout, stderr)
	}
	r.end()
}

// TestControlDrain: the order comes to the agent's main loop, with its deadline.
func TestControlDrain(t *testing.T) {
	r, c, socket := controlled(t, silentServer(t))
	for _, test := range []struct {
		args []string
		want time.Duration
	}{
		{nil, r.agent.set.drain},
		{[]string{"-deadline", "90s"}, 90 * time.Second},
	} {
		if status, stdout, stderr := ask(t, socket, drainVerb, test.args...); status != exitOK || stdout != "the gateway drains\n" {
			t.Errorf("status %d, %q, %q", status, stdout, stderr)
		}
		if got := <-c.drains; got != test.want {
			t.Errorf("the agent is to drain for %v, want %v", got, test.want)
		}
	}
	r.agent.state.Store(&errDraining)
	if status, _, stderr := ask(t, socket, drainVerb); status != exitError || !strings.Contains(stderr, "it is draining") {
		t.Errorf("draining already: status %d, %q", status, stderr)
	}
	r.end()
}

// TestControlEarly: an agent without a table answers too.
func TestControlEarly(t *testing.T) {
	set := settings{routes: filepath.Join(t.TempDir(), "none.hcl"), accessLog: "off", instance: "default"}
	a, err := newAgent(&set, environment{io.Discard, io.Discard, os.LookupEnv})
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "a.sock")
	c, err := startControl(a, controlSettings{socket: socket}, new(admin.Recent))
	if err != nil {
		t.Fatal(err)
	}
	defer c.close(t.Context())
	status, stdout, stderr := ask(t, socket, statusVerb)
	if status != exitOK || !strings.Contains(stdout, "starting") || !strings.Contains(stdout, "none yet") {
		t.Errorf("status %d, %q:\n%s", status, stderr, stdout)
	}
	if status, stdout, _ := ask(t, socket, flowsVerb, "-format=json"); status != exitOK || stdout != "[]\n" {
		t.Errorf("flows: status %d, %q", status, stdout)
	}
	if status, _, stderr := ask(t, socket, drainVerb); status != exitError || !strings.Contains(stderr, "it is starting") {
		t.Errorf("drain: status %d, %q", status, stderr)
	}
	if status, _, stderr := ask(t, socket, killVerb, "7"); status != exitError || !strings.Contains(stderr, "no such flow") {
		t.Errorf("kill: status %d, %q", status, stderr)
	}
}

// TestStartControl: a socket that was asked for must be there, the usual one may not.
func TestStartControl(t *testing.T) {
	log := new(syncBuffer)
	a := &agent{set: &settings{instance: strings.Repeat("x", 200)}, log: slog.New(slog.NewTextHandler(log, nil))}
	c, err := startControl(a, controlSettings{}, nil)
	if err != nil || c.server != nil || !strings.Contains(log.String(), "no admin socket") {
		t.Errorf("the usual one cannot be made: %v, log %q", err, log)
	}
	c.close(t.Context())
	if c, err = startControl(a, controlSettings{socket: noSocket}, nil); err != nil || c.server != nil {
		t.Errorf("off: %v, %+v", err, c)
	}
	path := filepath.Join(t.TempDir(), "a.sock")
	if c, err = startControl(a, controlSettings{socket: path}, nil); err != nil {
		t.Fatal(err)
	}
	defer c.close(t.Context())
	if _, err := startControl(a, controlSettings{socket: path}, nil); !errors.Is(err, admin.ErrInUse) || !strings.Contains(err.Error(), "-instance") {
		t.Errorf("another one's: %v", err)
	}
}

// clientHello is what a client of that server name says first.
func clientHello(t *testing.T, name string) []byte {
	t.Helper()
	near, far := net.Pipe()
	defer far.Close()
	go func() {
		defer near.Close()
		tls.Client(near, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake()
	}()
	b := make([]byte, 16<<10)
	n, err := io.ReadAtLeast(far, b, 5)
	if err != nil {
		t.Fatal(err)
	}
	for want := 5 + int(b[3])<<8 + int(b[4]); n < want; {
		more, err := far.Read(b[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += more
	}
	return b[:n]
}

func TestPerSecond(t *testing.T) {
	for _, test := range []struct {
		first, last uint64
		d           time.Duration
		want        float64
	}{
		{0, 100, 100 * time.Millisecond, 1000},
		{100, 100, time.Second, 0},
		{100, 99, time.Second, 0},
		{0, 100, 0, 0},
	} {
		if got := perSecond(test.first, test.last, test.d); got != test.want {
			t.Errorf("from %d to %d in %v: %v, want %v", test.first, test.last, test.d, got, test.want)
		}
	}
}
