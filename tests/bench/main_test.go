package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"sluice/scripts/lab/labtest"
	"sluice/tests/bench/figure"
	"sluice/tests/harness"
)

// TestMain has this test program play the parts that the bench starts processes for.
func TestMain(m *testing.M) {
	if is, err := play(os.Args[1:]); is {
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	harness.CleanUp()
	os.Exit(code)
}

// TestSmoke measures one contender at one workload, for as long as it takes to see that
// all parts work together. What it measures means nothing.
func TestSmoke(t *testing.T) {
	labtest.NeedRoot(t)
	dir := t.TempDir()
	var o options
	o.flags([]string{"-sluice", harness.Binary(t), "-rounds", "1", "-time", "200ms",
		"-workloads", "^60 ping-pong", "-contenders", "sluice splice", "-idle=false"})
	r, err := o.measured()
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Samples) != 1 || r.Mode != figure.Part {
		t.Fatalf("%d samples of a run that is %s, want one of a part", len(r.Samples), r.Mode)
	}
	s := r.Samples[0]
	if s.Failed != "" {
		t.Fatalf("it failed: %s", s.Failed)
	}
	if s.Contender != "sluice splice" || s.Bytes == 0 || s.Exchanges == 0 || s.Seconds <= 0 || s.CPU <= 0 || s.Exchange.P50 <= 0 || s.Exchange.P999 < s.Exchange.P50 {
		t.Errorf("a figure is missing: %+v", s)
	}
	if len(r.Contenders) != 1 || r.Contenders[0].Config[figure.OneHop] == "" || r.Contenders[0].Version == "" {
		t.Errorf("it is not told what ran: %+v", r.Contenders)
	}
	if r.Machine.Kernel == "" || len(r.Machine.Namespaces) != 3 || len(r.Machine.Sysctls) == 0 {
		t.Errorf("it is not told where it ran: %+v", r.Machine)
	}
	path, err := r.Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := figure.Load(path); err != nil {
		t.Error(err)
	}
}

// TestParts: client and server without a proxy between them, over loopback, at each
// kind of workload that they do themselves.
func TestParts(t *testing.T) {
	plainAt, secureAt := startServer(t)
	for _, w := range []workload{
		{Kind: figure.Bulk, Flows: 2},
		{Kind: figure.Both, Flows: 1},
		{Kind: figure.PingPong, Flows: 2, Size: 128},
		{Kind: figure.PingPong, Flows: 3, Size: 128, Group: figure.ManyFlows},
		{Kind: figure.Mixed, Flows: bulkOfMixed + 2, Size: 128},
		{Kind: figure.Handshake, Flows: 2},
	} {
		t.Run(string(w.Kind), func(t *testing.T) {
			at := plainAt
			if w.Kind == figure.Handshake {
				at = secureAt
			}
			m, err := order{Addr: at, Name: of(w.Kind).name, Workload: w, Time: 50 * time.Millisecond, PIDs: []string{fmt.Sprint(os.Getpid())}}.run()
			if err != nil {
				t.Fatal(err)
			}
			s := figure.Sample{Measured: m}
			for _, metric := range w.Metrics() {
				if metric.Of(s) <= 0 {
					t.Errorf("%s: %+v", metric.Name, m)
				}
			}
		})
	}
}

// startServer starts the server over loopback.
func startServer(t *testing.T) (plainAt, secureAt string) {
	t.Helper()
	plainAt, secureAt = free(t), free(t)
	cmd := role("server", plainAt, secureAt)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := out.Read(make([]byte, 100)); err != nil { // "serving"
		t.Fatal(err)
	}
	return plainAt, secureAt
}

// free is an address that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestVerify: a proxy that changes one byte wins nothing.
func TestVerify(t *testing.T) {
	server, _ := startServer(t)
	for _, test := range []struct {
		name   string
		change int // the byte of what comes from the client that is another one
		ok     bool
	}{
		{"all as it was", -1, true},
		{"one byte", 1 << 20, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := verify(forger(t, server, test.change), harness.Hello(plain.name, 0))
			if (err == nil) != test.ok {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// forger is a proxy for one connection that changes a byte.
func forger(t *testing.T, server string, change int) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		down, err := l.Accept()
		if err != nil {
			return
		}
		defer down.Close()
		up, err := net.Dial("tcp", server)
		if err != nil {
			return
		}
		defer up.Close()
		go func() { _, _ = io.Copy(down, up) }()
		b := make([]byte, 32<<10)
		for at := 0; ; {
			n, err := down.Read(b)
			if i := change - at; 0 <= i && i < n {
				b[i]++
			}
			at += n
			if _, writeErr := up.Write(b[:n]); writeErr != nil || err != nil {
				return
			}
		}
	}()
	return l.Addr().String()
}
