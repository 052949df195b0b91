package client

import (
	"flag"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hashicorp/consul/api"

	"sluice/userspace/config"
)

var ignoreFlags = cmpopts.IgnoreUnexported(Settings{})

func TestPrecedence(t *testing.T) {
	for _, test := range []struct {
		name  string
		given given
		want  Settings
	}{
		{"nothing", given{}, Settings{}},
		{"file", given{file: `http_addr = "f:1"`}, Settings{HTTPAddr: "f:1"}},
		{"Consul's variable over the file", given{
			env:  map[string]string{"CONSUL_HTTP_ADDR": "c:1"},
			file: `http_addr = "f:1"`,
		}, Settings{HTTPAddr: "c:1"}},
		{"Sluice's variable over Consul's", given{
			env: map[string]string{"CONSUL_HTTP_ADDR": "c:1", "SLUICE_HTTP_ADDR": "s:1"},
		}, Settings{HTTPAddr: "s:1"}},
		{"an empty variable is none", given{
			env: map[string]string{"CONSUL_HTTP_ADDR": "c:1", "SLUICE_HTTP_ADDR": "", "CONSUL_CACERT": ""},
		}, Settings{HTTPAddr: "c:1"}},
		{"flag over all", given{
			args: []string{"-http-addr", "a:1"},
			env:  map[string]string{"CONSUL_HTTP_ADDR": "c:1", "SLUICE_HTTP_ADDR": "s:1"},
			file: `http_addr = "f:1"`,
		}, Settings{HTTPAddr: "a:1"}},
		{"truth", given{env: map[string]string{"CONSUL_HTTP_SSL": "1", "CONSUL_HTTP_SSL_VERIFY": "false"}},
			Settings{SSL: true, SkipVerify: true}},
		{"truth over the environment", given{
			args: []string{"-http-ssl=false", "-http-ssl-verify"},
			env:  map[string]string{"CONSUL_HTTP_SSL": "1", "CONSUL_HTTP_SSL_VERIFY": "false"},
		}, Settings{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := settings(t, test.given)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, *got, ignoreFlags); diff != "" {
				t.Error(diff)
			}
		})
	}
	if _, err := settings(t, given{env: map[string]string{"CONSUL_HTTP_SSL_VERIFY": "perhaps"}}); err == nil ||
		!strings.Contains(err.Error(), "HTTP_SSL_VERIFY") {
		t.Errorf("a bad variable: %v", err)
	}
}

// TestTokenPrecedence: a token file goes before a token of the same place, and
// a stronger place goes before a weaker one.
func TestTokenPrecedence(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return write(t, filepath.Join(dir, name), name+"\n") }
	arg, sluice, consul, conf, empty := file("arg-file"), file("sluice-file"), file("consul-file"), file("conf-file"), write(t, filepath.Join(dir, "empty"), " \n")
	for _, test := range []struct {
		given given
		want  string
	}{
		{given{}, ""},
		{given{args: []string{"-token-file", arg, "-token", "arg"}}, "arg-file"},
		{given{args: []string{"-token", "arg", "-token-file", arg}}, "arg-file"},
		{given{args: []string{"-token", "arg"}, env: map[string]string{"CONSUL_HTTP_TOKEN_FILE": consul}}, "arg"},
		{given{args: []string{"-token", "arg"}, file: `token_file = "` + conf + `"`}, "arg"},
		{given{args: []string{"-token-file", arg}, env: map[string]string{"SLUICE_TOKEN": "sluice"}}, "arg-file"},
		{given{env: map[string]string{"SLUICE_TOKEN": "sluice", "SLUICE_TOKEN_FILE": sluice}}, "sluice-file"},
		{given{env: map[string]string{"SLUICE_TOKEN": "sluice", "CONSUL_HTTP_TOKEN_FILE": consul}}, "sluice"},
		{given{env: map[string]string{"SLUICE_TOKEN_FILE": sluice, "CONSUL_HTTP_TOKEN": "consul"}}, "sluice-file"},
		{given{env: map[string]string{"CONSUL_HTTP_TOKEN": "consul", "CONSUL_HTTP_TOKEN_FILE": consul}}, "consul-file"},
		{given{env: map[string]string{"CONSUL_HTTP_TOKEN": "consul"}, file: `token_file = "` + conf + `"`}, "consul"},
		{given{env: map[string]string{"CONSUL_HTTP_TOKEN_FILE": consul}, file: `token = "conf"`}, "consul-file"},
		{given{file: "token = \"conf\"\ntoken_file = \"" + conf + `"`}, "conf-file"},
		{given{args: []string{"-token-file", empty, "-token", "arg"}}, "arg"},
		{given{args: []string{"-token-file", empty}}, ""},
	} {
		s, err := settings(t, test.given)
		if err != nil {
			t.Fatal(err)
		}
		got, err := agent(t, *s).Token()
		if err != nil || got != test.want {
			t.Errorf("%+v: token %q, want %q (error: %v)", test.given, got, test.want, err)
		}
	}
}

// TestEverySetting: each has a flag, a variable of Consul's that Consul knows, and
// a description.
func TestEverySetting(t *testing.T) {
	known := map[string]bool{}
	for _, name := range []string{
		api.HTTPAddrEnvName, api.HTTPTokenEnvName, api.HTTPTokenFileEnvName, api.HTTPAuthEnvName, api.HTTPSSLEnvName,
		api.HTTPCAFile, api.HTTPCAPath, api.HTTPClientCert, api.HTTPClientKey, api.HTTPTLSServerName,
		api.HTTPSSLVerifyEnvName, api.GRPCAddrEnvName, api.GRPCCAFileEnvName, api.GRPCCAPathEnvName,
		api.HTTPNamespaceEnvName, api.HTTPPartitionEnvName,
	} {
		known[name] = true
	}
	var s Settings
	fs := flag.NewFlagSet("test", flag.ContinueOnError)
	s.Flags(fs)
	flags := 0
	fs.VisitAll(func(f *flag.Flag) {
		flags++
		env := consulNames[f.Name]
		if !known[env] {
			t.Errorf("-%s has the variable %q, which Consul does not have", f.Name, env)
		}
		delete(known, env)
		if f.Usage == "" {
			t.Errorf("-%s has no description", f.Name)
		}
		value := "text"
		if b, ok := f.Value.(interface{ IsBoolFlag() bool }); ok && b.IsBoolFlag() {
			value = map[string]string{"false": "true", "true": "false"}[f.Value.String()]
		}
		lookup := Lookup(func(name string) (string, bool) { return value, name == env })
		if got, ok := lookup(config.EnvName(f.Name)); !ok || got != value {
			t.Errorf("-%s: the environment has %q, %t", f.Name, got, ok)
		}
		if err := f.Value.Set(value); err != nil || f.Value.String() != value {
			t.Errorf("-%s: %v, is %q", f.Name, err, f.Value)
		}
	})
	if len(known) > 0 {
		t.Errorf("no flag for %v", known)
	}
	fields := reflect.ValueOf(s)
	exported := 0
	for i := range fields.NumField() {
		if field := fields.Type().Field(i); field.IsExported() {
			if exported++; fields.Field(i).IsZero() {
				t.Errorf("no flag sets %s", field.Name)
			}
		}
	}
	if exported != flags {
		t.Errorf("%d settings have %d flags", exported, flags)
	}
}

func TestLookupOfOthers(t *testing.T) {
	env := map[string]string{"SLUICE_LISTEN": "x", "CONNECT_PROXY_ID": "gw-1"}
	lookup := Lookup(func(name string) (string, bool) {
		v, ok := env[name]
		return v, ok
	})
	for name, want := range map[string]string{"SLUICE_LISTEN": "x", "SLUICE_PROXY_ID": "gw-1", "SLUICE_WORKERS": ""} {
		if got, ok := lookup(name); got != want || ok != (want != "") {
			t.Errorf("%s: %q, %t, want %q", name, got, ok, want)
		}
	}
}

func TestBadSettings(t *testing.T) {
	dir := t.TempDir()
	none, text := filepath.Join(dir, "none"), write(t, filepath.Join(dir, "text"), "hello")
	ca := newAuthority(t)
	certFile, keyFile := writeLeaf(t, dir, ca.leaf(t, "client"))
	emptyDir := t.TempDir()
	for _, test := range []struct {
		set  Settings
		want string
	}{
		{Settings{HTTPAddr: "ftp://x"}, `http-addr "ftp://x": scheme "ftp" is not http, https or unix`},
		{Settings{GRPCAddr: "x"}, `grpc-addr "x": missing port in address`},
		{Settings{Token: "two words"}, "token: has a character that no token has"},
		{Settings{TokenFile: none}, "token-file " + none + ": no such file or directory"},
		{Settings{TokenFile: dir}, "token-file " + dir + ": is not a regular file"},
		{Settings{CAFile: none}, "ca-file " + none + ": no such file or directory"},
		{Settings{CAFile: text}, "ca-file " + text + ": has no certificate in PEM"},
		{Settings{CAPath: none}, "ca-path " + none + ": no such file or directory"},
		{Settings{CAPath: dir}, "ca-path " + dir + ": " + keyFile + ": has no certificate in PEM"},
		{Settings{CAPath: emptyDir}, "ca-path " + emptyDir + ": has no files"},
		{Settings{GRPCCAFile: text}, "grpc-ca-file " + text + ": has no certificate in PEM"},
		{Settings{GRPCCAPath: none}, "grpc-ca-path " + none + ": no such file or directory"},
		{Settings{ClientCert: certFile}, "client-key: is needed with client-cert"},
		{Settings{ClientKey: keyFile}, "client-cert: is needed with client-key"},
		{Settings{ClientCert: certFile, ClientKey: none}, "client-cert " + certFile + " with client-key " + none + ": open " + none + ": no such file or directory"},
		{Settings{ClientCert: text, ClientKey: keyFile}, "client-cert " + text + " with client-key " + keyFile + ": tls: failed to find any PEM data in certificate input"},
	} {
		if _, err := test.set.Agent(); err == nil || err.Error() != test.want {
			t.Errorf("%+v:\n got %v\nwant %s", test.set, err, test.want)
		}
	}
}
