package client

import (
	"testing"
)

func TestHTTPAddress(t *testing.T) {
	for _, test := range []struct {
		addr     string
		ssl      bool
		want     httpAddress
		hostname string
	}{
		{"", false, httpAddress{host: "localhost:8500"}, "localhost"},
		{"", true, httpAddress{tls: true, host: "localhost:8500"}, "localhost"},
		{"127.0.0.1:8500", false, httpAddress{host: "127.0.0.1:8500"}, "127.0.0.1"},
		{"consul.example", false, httpAddress{host: "consul.example"}, "consul.example"},
		{":8500", false, httpAddress{host: ":8500"}, "localhost"},
		{"[fd00::1]:8500", false, httpAddress{host: "[fd00::1]:8500"}, "fd00::1"},
		{"http://10.0.0.1:8500/", false, httpAddress{host: "10.0.0.1:8500"}, "10.0.0.1"},
		{"http://10.0.0.1:8500", true, httpAddress{tls: true, host: "10.0.0.1:8500"}, "10.0.0.1"},
		{"https://consul.example:8501", false, httpAddress{tls: true, host: "consul.example:8501"}, "consul.example"},
		{"https://consul.example/a/b/", false, httpAddress{tls: true, host: "consul.example", prefix: "/a/b"}, "consul.example"},
		{"unix:///run/consul.sock", false, httpAddress{socket: "/run/consul.sock", host: "localhost"}, "127.0.0.1"},
		{"unix://consul.sock", true, httpAddress{tls: true, socket: "consul.sock", host: "localhost"}, "127.0.0.1"},
	} {
		got, err := parseHTTP(test.addr, test.ssl)
		if err != nil || got != test.want || got.hostname() != test.hostname {
			t.Errorf("%q: got %+v at %s, want %+v at %s (error: %v)", test.addr, got, got.hostname(), test.want, test.hostname, err)
		}
	}
	for addr, want := range map[string]string{
		"ftp://x":               `scheme "ftp" is not http, https or unix`,
		"http://":               "has no host",
		"/run/consul.sock":      "has no host",
		"unix://":               "has no path",
		"x:y":                   `invalid port ":y" after host`,
		"x:0":                   `port "0" is not 1 to 65535`,
		"x:65536":               `port "65536" is not 1 to 65535`,
		"http://u:p@x:8500":     "has a user, which belongs into -http-auth",
		"http://x:8500/?stale":  "has more than a host, a port and a path",
		"http://x:8500/#frag":   "has more than a host, a port and a path",
		"http://[fd00::1:8500":  "missing ']' in host",
		"http://x y:8500":       `invalid character " " in host name`,
		"consul\x7f.example:80": "net/url: invalid control character in URL",
	} {
		if got, err := parseHTTP(addr, false); err == nil || err.Error() != want {
			t.Errorf("%q: got %+v and %v, want %s", addr, got, err, want)
		}
	}
}

func TestGRPCAddress(t *testing.T) {
	for _, test := range []struct {
		addr   string
		haveCA bool
		want   string
		tls    bool
	}{
		{"127.0.0.1:8502", false, "127.0.0.1:8502", false},
		{"127.0.0.1:8502", true, "127.0.0.1:8502", false}, // as with Consul, the scheme decides
		{"[fd00::1]:8502", false, "[fd00::1]:8502", false},
		{"http://consul.example:8502", true, "consul.example:8502", false},
		{"https://consul.example:8503/", false, "consul.example:8503", true},
		{"HTTPS://consul.example:8503", false, "consul.example:8503", true},
		{"unix:///run/grpc.sock", false, "unix:///run/grpc.sock", false},
		{"unix:///run/grpc.sock", true, "unix:///run/grpc.sock", true},
	} {
		got, tls, err := parseGRPC(test.addr, test.haveCA)
		if err != nil || got != test.want || tls != test.tls {
			t.Errorf("%q: got %s, TLS %t, want %s, TLS %t (error: %v)", test.addr, got, tls, test.want, test.tls, err)
		}
	}
	for addr, want := range map[string]string{
		"consul.example":        "missing port in address",
		"fd00::1:8502":          "too many colons in address",
		":8502":                 "has no host",
		"x:0":                   `port "0" is not 1 to 65535`,
		"x:grpc":                `port "grpc" is not 1 to 65535`,
		"x:8502/path":           `port "8502/path" is not 1 to 65535`,
		"unix://grpc.sock":      "path of the socket does not begin with /",
		"unix://":               "path of the socket does not begin with /",
		"dns:///consul.example": `scheme "dns" is not http, https or unix`,
	} {
		if got, _, err := parseGRPC(addr, false); err == nil || err.Error() != want {
			t.Errorf("%q: got %s and %v, want %s", addr, got, err, want)
		}
	}
}

// FuzzAddresses: whatever is taken for an address can be spoken to.
func FuzzAddresses(f *testing.F) {
	for _, s := range []string{"", "x:1", "https://x:1/p", "unix:///a", "[::1]:1", "http://%41:1", "://", "https://[fe80::1%25lo]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if a, err := parseHTTP(s, false); err == nil && (a.host == "" || a.hostname() == "") {
			t.Errorf("%q as HTTP: %+v", s, a)
		}
		if target, _, err := parseGRPC(s, false); err == nil {
			if again, _, err := parseGRPC(target, false); err != nil || again != target {
				t.Errorf("%q as gRPC: %q, and that is %q (error: %v)", s, target, again, err)
			}
		}
	})
}
