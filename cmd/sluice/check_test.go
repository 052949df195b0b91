package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/loader"
	"sluice/scripts/consul"
	"sluice/scripts/consul/consultest"
)

// checked is a report as its JSON has it.
type checked struct {
	Lines          []struct{ Area, Name, Level, Found, Remedy string }
	OK, Warn, Fail int
}

// runCheck runs the verb with an environment of its own.
func runCheck(t *testing.T, set map[string]string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	lookup := func(name string) (string, bool) { value, ok := set[name]; return value, ok }
	c := &checkCommand{env: environment{stdout: &out, stderr: &errs, lookupEnv: lookup}}
	status = c.Run(args)
	return status, out.String(), errs.String()
}

// checkReport runs it with -format=json.
func checkReport(t *testing.T, set map[string]string, args ...string) (status int, r checked) {
	t.Helper()
	status, stdout, stderr := runCheck(t, set, append(args, "-format=json")...)
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("status %d, %v, JSON %q, stderr %q", status, err, stdout, stderr)
	}
	for _, l := range r.Lines {
		t.Logf("%-5s %-10s %-20s %s -> %s", l.Level, l.Area, l.Name, l.Found, l.Remedy)
	}
	if len(r.Lines) != r.OK+r.Warn+r.Fail {
		t.Errorf("%d lines, and counts of %d, %d and %d", len(r.Lines), r.OK, r.Warn, r.Fail)
	}
	return status, r
}

// expect checks a line's level, and that it says so.
func (r *checked) expect(t *testing.T, name, level, found string) {
	t.Helper()
	for _, l := range r.Lines {
		if l.Name == name {
			if l.Level != level || !strings.Contains(l.Found, found) {
				t.Errorf("%s is %s %q, want %s %q", name, l.Level, l.Found, level, found)
			}
			return
		}
	}
	t.Errorf("there is no line %q", name)
}

// checkRoutes is a good one.
func checkRoutes(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "routes.hcl")
	text := "route \"a.test\" { cluster = \"a\" }\ncluster \"a\" {\n  endpoint \"127.0.0.1:1\" {}\n}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// checkAddress is one of loopback's that nobody else has.
func checkAddress() string { return fmt.Sprintf("127.77.%d.%d:8443", rand.N(250), 1+rand.N(250)) }

func TestCheckUsage(t *testing.T) {
	for _, c := range []struct {
		args   []string
		status int
		text   string
	}{
		{[]string{"-nonsense"}, exitUsage, "sluice check: flag provided but not defined"},
		{[]string{"stray"}, exitUsage, `unexpected argument "stray"`},
		{[]string{"-format=xml"}, exitUsage, "xml"},
		{[]string{"-timeout=0s"}, exitUsage, "-timeout"},
		{[]string{"-workers=0"}, exitUsage, "-workers"},
		{[]string{"-config=/none.hcl"}, exitError, "/none.hcl"},
		{[]string{"-ca-file=/none.pem"}, exitError, "/none.pem"},
	} {
		status, stdout, stderr := runCheck(t, nil, c.args...)
		if status != c.status || stdout != "" || !strings.Contains(stderr, c.text) {
			t.Errorf("%v: status %d, %q, %q", c.args, status, stdout, stderr)
		}
	}
	help := (&checkCommand{}).Help()
	for _, want := range []string{"Usage: sluice check", "-routes=<file>", "-format=<table>", "-timeout=<duration>"} {
		if !strings.Contains(help, want) {
			t.Errorf("the help does not have %q", want)
		}
	}
}

// TestCheckTable: what people see, with a file of routes that is bad.
func TestCheckTable(t *testing.T) {
	set := map[string]string{"SLUICE_ROUTES": "/none.hcl", "SLUICE_PATH": "splice", "SLUICE_LISTEN": checkAddress()}
	status, stdout, stderr := runCheck(t, set)
	if status != exitError || stderr != "" {
		t.Errorf("status %d, stderr %q", status, stderr)
	}
	for _, want := range []string{"kernel:\n  ok", "paths:\n", "  fail  /none.hcl  open /none.hcl", "-> mend the file", " 1 fail\n"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
}

// checkFS mounts a BPF file system and returns a directory on it for pins.
func checkFS(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: it loads BPF programs and mounts a BPF file system")
	}
	dir := t.TempDir()
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		t.Fatalf("mount a BPF file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return filepath.Join(dir, "sluice")
}

// TestCheckHost runs all of it for real, and looks for what it leaves behind.
func TestCheckHost(t *testing.T) {
	dir, file := checkFS(t), checkRoutes(t)
	args := []string{"-routes", file, "-bpf-dir", dir, "-path", "sockmap", "-unsafe-kernel", "-listen", checkAddress(), "-metrics-bind", "localhost:0", "-max-flows", "1000"}
	status, r := checkReport(t, nil, args...)
	if status != exitOK || r.Fail > 0 {
		t.Errorf("status %d, %d lines fail", status, r.Fail)
	}
	for name, found := range map[string]string{
		"types (BTF)": "vmlinux", "capabilities": "CAP_BPF", "open files": "1000 flows", "bpf file system": dir,
		"splice": "self-test", "sockmap": "self-test", file: "1 route", "metrics localhost:0": "free",
	} {
		r.expect(t, name, "ok", found)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", dir, err)
	}

	// What was there before, stays, but for what a check has left that was killed.
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	killedCheck(t, dir)
	if names := checkPins(t, dir); len(names) != 1 {
		t.Fatalf("a check that was killed left %v", names)
	}
	if _, r = checkReport(t, nil, args...); len(checkPins(t, dir)) != 0 {
		t.Errorf("there is %v", checkPins(t, dir))
	}
	r.expect(t, "sockmap", "ok", "self-test")
}

// checkPins are the names in the directory of instances.
func checkPins(t *testing.T, dir string) (names []string) {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names
}

// killedCheck has a process load what a check loads, and kills it.
func killedCheck(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestLoadForCheck$")
	cmd.Env = append(os.Environ(), "SLUICE_TEST_PINS="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "loaded\n" {
		t.Errorf("the process says %q, %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
}

// TestLoadForCheck is the process that killedCheck kills, and otherwise nothing.
func TestLoadForCheck(t *testing.T) {
	dir := os.Getenv("SLUICE_TEST_PINS")
	if dir == "" {
		return
	}
	if _, err := loader.Load(loader.Options{Root: dir, Instance: "check-99999999", Flows: checkFlows}); err != nil {
		t.Fatal(err)
	}
	fmt.Println("loaded")
	select {}
}

func TestMissingBriefly(t *testing.T) {
	denied := fmt.Errorf("load: %w", unix.EPERM)
	for _, c := range []struct {
		want  string // "": nil
		found []loader.Feature
	}{
		{"", []loader.Feature{{Name: "a"}}},
		{"not permitted without CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON: b, and 1 more", []loader.Feature{{Name: "a"}, {Name: "b", Err: denied}, {Name: "c", Err: denied}}},
		{"a: gone\nnot permitted without CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON: b, and 0 more", []loader.Feature{{Name: "a", Err: errors.New("gone")}, {Name: "b", Err: denied}}},
	} {
		if err := missingBriefly(c.found); err == nil && c.want != "" || err != nil && err.Error() != c.want {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// TestCheckBesideGateway: a gateway that runs has its address, and keeps its pins.
func TestCheckBesideGateway(t *testing.T) {
	dir, file, addr := checkFS(t), checkRoutes(t), checkAddress()
	args := []string{"-routes", file, "-bpf-dir", dir, "-unsafe-kernel", "-listen", addr, "-instance", "beside", "-drain-timeout", "1s",
		"-admin-socket", filepath.Join(t.TempDir(), "admin.sock")}
	cmd := exec.Command("sluice", append([]string{"gateway"}, args...)...)
	var log bytes.Buffer
	cmd.Stderr = &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Errorf("the gateway: %v, its log:\n%s", err, &log)
		}
	})
	checkListening(t, addr)
	status, r := checkReport(t, nil, args...)
	if status != exitOK {
		t.Errorf("status %d", status)
	}
	r.expect(t, "listen "+addr, "ok", fmt.Sprintf("the gateway that runs has it: sluice gateway, process %d", cmd.Process.Pid))
	r.expect(t, "open files", "ok", fmt.Sprintf("of the running gateway, process %d", cmd.Process.Pid))
	r.expect(t, "sockmap", "ok", "self-test")
	all, err := loader.List(dir)
	if err != nil || len(all) != 1 || all[0].Instance != "beside" || !all[0].Alive {
		t.Errorf("pinned is %+v, %v", all, err)
	}
	checkListening(t, addr)

	// Settings of which no gateway answers, for the same address.
	_, r = checkReport(t, nil, append(args, "-admin-socket=off", "-path=splice")...)
	r.expect(t, "listen "+addr, "ok", fmt.Sprintf("taken for the one of these settings: sluice gateway, process %d", cmd.Process.Pid))
	r.expect(t, "open files", "ok", "of this process")
}

// checkListening waits until somebody listens.
func checkListening(t *testing.T, addr string) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var c net.Conn
		if c, err = net.DialTimeout("tcp", addr, time.Second); err == nil {
			c.Close()
			return
		}
	}
	t.Fatal(err)
}

// TestCheckConsul asks a real one, with all rights and less one.
func TestCheckConsul(t *testing.T) {
	c := consultest.Start(t, consul.OneServer, consul.Settings{ACL: true})
	agent := c.Agents[0]
	at := netip.AddrPortFrom(c.Loopback(1, 30), 8443).String()
	for _, test := range []struct {
		name, rules   string
		status        int
		level, remedy string
	}{
		{"all", consul.GatewayRules("gw"), exitOK, "ok", ""},
		{"less", consul.GatewayRules("other"), exitError, "fail", "missing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			token, err := agent.NewToken(t.Context(), test.name, test.rules)
			if err != nil {
				t.Fatal(err)
			}
			set := map[string]string{"CONSUL_HTTP_ADDR": agent.HTTP(), "CONSUL_HTTP_TOKEN": token}
			status, r := checkReport(t, set, "-register", "-service", "gw", "-address", at, "-path", "splice", "-state-dir", t.TempDir())
			if status != test.status {
				t.Errorf("status %d, want %d", status, test.status)
			}
			r.expect(t, "service:write", test.level, test.remedy)
			r.expect(t, "listen "+at, "ok", "free")
			r.expect(t, "gateway", "ok", "not registered yet")
			r.expect(t, "xDS", "ok", "answers")
		})
	}
}
