package registration

import (
	"flag"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"

	"sluice/userspace/config"
)

// TestFlags reads good ones.
func TestFlags(t *testing.T) {
	got := flags(t, "-register", "-service", "gate", "-proxy-id", "gate-1", "-address", "127.0.0.1", "-wan-address", "gw.example.com:443",
		"-bind-address", "a=0.0.0.0:1, b=[::]:2", "-bind-address", "c=127.0.0.1:3", "-expose-servers",
		"-deregister-after-critical", "10m", "-no-central-config")
	want := Settings{
		Register: true, Service: "gate", ID: "gate-1",
		Address:    api.ServiceAddress{Address: "127.0.0.1", Port: 8443},
		WANAddress: api.ServiceAddress{Address: "gw.example.com", Port: 443},
		BindAddresses: map[string]api.ServiceAddress{
			"a": {Address: "0.0.0.0", Port: 1}, "b": {Address: "::", Port: 2}, "c": {Address: "127.0.0.1", Port: 3}},
		ExposeServers: true, DeregisterAfterCritical: 10 * time.Minute, NoCentralConfig: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := got.Check(); err != nil {
		t.Error(err)
	}
	if s := flags(t); s.DeregisterAfterCritical != 6*time.Hour || s.Check() != nil {
		t.Errorf("defaults: %+v: %v", s, s.Check())
	}
	if s := flags(t, "-register", "-deregister-after-critical=0"); s.definition(false).Check.DeregisterCriticalServiceAfter != "" {
		t.Error("0 is not never")
	}
}

// TestFlagsText writes flags as they can be read again.
func TestFlagsText(t *testing.T) {
	var s Settings
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	s.Flags(fs)
	for name, text := range map[string]string{
		"address": "[::1]:8443", "wan-address": "gw.example.com:443", "bind-address": "a=0.0.0.0:1,b=[::]:2",
	} {
		f := fs.Lookup(name)
		if f.Value.String() != "" || f.DefValue != "" {
			t.Errorf("-%s begins as %q", name, f.Value)
		}
		must(t, f.Value.Set(text))
		if f.Value.String() != text {
			t.Errorf("-%s %s became %q", name, text, f.Value)
		}
	}
	// As the flag package does it, to print defaults.
	if (*addressValue)(nil).String() != "" || (*bindValue)(nil).String() != "" {
		t.Error("nothing has a text")
	}
}

// TestEnvironment has the flags set by variables, lists with commas included.
func TestEnvironment(t *testing.T) {
	env := map[string]string{"SLUICE_REGISTER": "true", "SLUICE_BIND_ADDRESS": "a=0.0.0.0:1,b=[::]:2", "SLUICE_ADDRESS": "127.0.0.1:9"}
	var s Settings
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	s.Flags(fs)
	must(t, fs.Parse([]string{"-address", "127.0.0.1:10"}))
	must(t, config.Fill(fs, func(k string) (string, bool) { v, ok := env[k]; return v, ok }, ""))
	if !s.Register || len(s.BindAddresses) != 2 || s.Address.Port != 10 {
		t.Errorf("%+v", s)
	}
}

// TestCheck finds what makes no sense, and names the flag.
func TestCheck(t *testing.T) {
	for args, want := range map[string]string{
		"-address 127.0.0.1:1":                     "-address requires -register",
		"-wan-address 127.0.0.1:1":                 "-wan-address requires -register",
		"-bind-address a=127.0.0.1:1":              "-bind-address requires -register",
		"-expose-servers":                          "-expose-servers requires -register",
		"-register -address 0.0.0.0:1":             "-address 0.0.0.0 is none that others",
		"-register -address [::]:1":                "-address :: is none",
		"-register -wan-address 0.0.0.0:1":         "-wan-address 0.0.0.0 is none",
		"-register -wan-address :443":              "-wan-address :443 lacks the host",
		"-register -address 192.0.2.7:1":           "-address 192.0.2.7 is not of this host",
		"-register -address gw.example.com:1":      "-address gw.example.com is not of this host",
		"-register -bind-address a=localhost:1":    "-bind-address a=localhost: not an IP address",
		"-register -bind-address a=:1":             "-bind-address a=: not an IP address",
		"-register -proxy-id a/b":                  "must not contain",
		"-register -deregister-after-critical=-1s": "must not be negative",
		"-register":                      "",
		"-register -address :1":          "",
		"-register -address 127.7.7.7:1": "",
		"-register -address 192.0.2.7:1 -bind-address a=[::]:1": "",
		"-service x -proxy-id y -no-central-config":             "",
	} {
		s := flags(t, strings.Fields(args)...)
		err := s.Check()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}

// TestAddress reads addresses, with the errors that bad ones give.
func TestAddress(t *testing.T) {
	// Whether a host has a private address is its own business.
	const lo = `{{ GetAllInterfaces | include "name" "^lo$" | include "type" "IPv4" | limit 1 | join "address" "" }}`
	for text, want := range map[string]string{
		"10.0.0.1:443":       "10.0.0.1:443",
		"10.0.0.1":           "10.0.0.1:8443",
		":443":               ":443",
		"[2001:db8::1]:443":  "[2001:db8::1]:443",
		"2001:db8::1":        "[2001:db8::1]:8443",
		"[2001:db8::1]":      "[2001:db8::1]:8443",
		"gw.example.com:443": "gw.example.com:443",
		lo:                   "127.0.0.1:8443",
		lo + ":443":          "127.0.0.1:443",

		"":                    "! neither an IP address nor HOST:PORT",
		"gw.example.com":      "! neither an IP address nor HOST:PORT",
		"10.0.0.1:":           "! not a number",
		"10.0.0.1:0":          "! not a number from 1 to 65535",
		"10.0.0.1:65536":      "! not a number from 1 to 65535",
		"10.0.0.1:https":      "! not a number from 1 to 65535",
		"10.0.0.1 10.0.0.2:1": "! more than one address",
		"{{ nonsense }}:1":    "! nonsense",
		"{{ GetPrivateIP":     "! unclosed action",
		`{{ GetInterfaceIP "no-such-interface" }}:1`:                "! there is no such address",
		`{{ GetAllInterfaces | limit 0 | join "address" " " }}:443`: `! the template gave ":443"`,
	} {
		a, err := parseAddress(text)
		problem, bad := strings.CutPrefix(want, "! ")
		switch {
		case bad && (err == nil || !strings.Contains(err.Error(), problem)):
			t.Errorf("%q: %v, want an error that says %q", text, err, problem)
		case !bad && (err != nil || format(a) != want):
			t.Errorf("%q: %s, %v; want %s", text, format(a), err, want)
		}
	}
}

func TestBindAddress(t *testing.T) {
	const lo = `a={{ GetAllInterfaces | include "name,type" "^lo$,IPv4" | limit 1 | join "address" "" }}:1,b=[::1]:2`
	for text, want := range map[string]string{
		"a=127.0.0.1:1":               "",
		"127.0.0.1:1":                 "not of the form",
		"=127.0.0.1:1":                "not of the form",
		"a=127.0.0.1:1,":              "not of the form",
		"a=127.0.0.1:1,a=127.0.0.2:1": "given twice",
		"a=127.0.0.1:x":               "a: the port",
	} {
		_, err := parse("-bind-address", text)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if got := splitOutside(lo); len(got) != 2 {
		t.Errorf("%q in %d parts", got, len(got))
	}
}

// FuzzAddress wants no panic, and what was read to mean itself.
func FuzzAddress(f *testing.F) {
	for _, text := range []string{"10.0.0.1:443", ":1", "[::1]:2", "{{ GetPrivateIP }}:3", "x:y:z", "{{", "a,b:1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 64 || strings.Contains(text, "range") {
			t.Skip("a template that takes its time")
		}
		a, err := parseAddress(text)
		if err != nil {
			return
		}
		if a.Port < 1 || a.Port > 65535 {
			t.Fatalf("%q: port %d", text, a.Port)
		}
		if strings.Contains(format(a), "{{") {
			return
		}
		again, err := parseAddress(format(a))
		if err != nil || again != a {
			t.Errorf("%q is %v, and that is %v, %v", text, a, again, err)
		}
	})
}

// TestDefinition6 has the check where an agent with an IPv6 address expects it.
func TestDefinition6(t *testing.T) {
	for bind, want := range map[string]string{"::1": "[::1]:8443", "fd00::7": "[::1]:8443", "10.0.0.1": "127.0.0.1:8443", "::ffff:10.0.0.1": "127.0.0.1:8443", "": "127.0.0.1:8443"} {
		s := flags(t, "-register")
		dual := facts{BindAddr: bind}.dualStack()
		if got := s.definition(dual).Check.TCP; got != want {
			t.Errorf("agent at %q: check at %s, want %s", bind, got, want)
		}
	}
}

func TestBindable(t *testing.T) {
	addrs, err := net.InterfaceAddrs()
	must(t, err)
	for _, a := range addrs {
		if ip := a.(*net.IPNet).IP.String(); !bindable(ip) {
			t.Errorf("%s is of this host", ip)
		}
	}
	for _, host := range []string{"", "192.0.2.1", "localhost", "127.0.0.1:1"} {
		if bindable(host) {
			t.Errorf("%q is an address of this host", host)
		}
	}
}
