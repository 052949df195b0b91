package client

import (
	"errors"
	"flag"
	"strconv"

	"sluice/userspace/config"
)

// Settings say where the agent is and how it is spoken to. An empty one has
// Consul's default.
type Settings struct {
	HTTPAddr   string // "127.0.0.1:8500", "https://consul.example:8501/prefix", "unix:///run/consul.sock"
	SSL        bool   // https, whatever HTTPAddr says
	SkipVerify bool   // take any certificate of the agent's: -http-ssl-verify=false
	HTTPAuth   string // "user" or "user:password", for a proxy in front of the agent

	Token     string
	TokenFile string // goes before Token, except for one from a stronger place

	CAFile        string // goes before CAPath; with neither it is the system's CAs
	CAPath        string
	ClientCert    string
	ClientKey     string
	TLSServerName string // that the agent's certificate must have; empty: the host of its address

	Namespace string // with Consul Enterprise, as is Partition
	Partition string

	GRPCAddr   string // "127.0.0.1:8502", "https://127.0.0.1:8503", "unix:///run/grpc.sock"; empty: the agent is asked
	GRPCCAFile string // these two go before CAFile and CAPath
	GRPCCAPath string

	flags *flag.FlagSet // tells what stood on the command line
}

// Flags adds the settings to fs.
func (s *Settings) Flags(fs *flag.FlagSet) {
	s.flags = fs
	fs.StringVar(&s.HTTPAddr, "http-addr", s.HTTPAddr, "`address` of the Consul agent's HTTP: HOST:PORT, http://..., https://... or unix:///PATH (default localhost:8500)")
	fs.BoolVar(&s.SSL, "http-ssl", s.SSL, "speak HTTPS to the agent, whatever -http-addr says")
	fs.Var((*not)(&s.SkipVerify), "http-ssl-verify", "verify the agent's certificates (default true)")
	fs.StringVar(&s.HTTPAuth, "http-auth", s.HTTPAuth, "`USER:PASSWORD` for a proxy in front of the agent (better in the environment, where ps does not show it)")
	fs.StringVar(&s.Token, "token", s.Token, "ACL `token` (better in a file or the environment, where ps does not show it)")
	fs.Var((*tokenPath)(&s.TokenFile), "token-file", "`file` with the ACL token, read again when it changes")
	fs.StringVar(&s.CAFile, "ca-file", s.CAFile, "`file` with the CAs of the agent's certificate, in PEM (default the system's)")
	fs.StringVar(&s.CAPath, "ca-path", s.CAPath, "`directory` with such files")
	fs.StringVar(&s.ClientCert, "client-cert", s.ClientCert, "`file` with the certificate to show to the agent, in PEM")
	fs.StringVar(&s.ClientKey, "client-key", s.ClientKey, "`file` with its key, in PEM")
	fs.StringVar(&s.TLSServerName, "tls-server-name", s.TLSServerName, "`name` that the agent's certificate must have (default the host of its address)")
	fs.StringVar(&s.Namespace, "namespace", s.Namespace, "`namespace` of the gateway (Consul Enterprise)")
	fs.StringVar(&s.Partition, "partition", s.Partition, "admin `partition` of the gateway (Consul Enterprise)")
	fs.StringVar(&s.GRPCAddr, "grpc-addr", s.GRPCAddr, "`address` of the agent's gRPC: HOST:PORT, https://HOST:PORT or unix:///PATH (default what the agent says)")
	fs.StringVar(&s.GRPCCAFile, "grpc-ca-file", s.GRPCCAFile, "`file` with the CAs of the agent's gRPC (default that of -ca-file)")
	fs.StringVar(&s.GRPCCAPath, "grpc-ca-path", s.GRPCCAPath, "`directory` with such files")
}

// not is a flag whose field is true when the flag is false, so that Settings
// without any flags verify.
type not bool

func (n *not) String() string   { return strconv.FormatBool(!bool(*n)) }
func (n *not) IsBoolFlag() bool { return true }

func (n *not) Set(s string) error {
	v, err := strconv.ParseBool(s)
	if err != nil {
		return errors.New("want true or false")
	}
	*n = not(!v)
	return nil
}

// noTokenFile as the value of -token-file means none, and that a weaker place may
// not name one. No path has a zero byte.
const noTokenFile = "\x00"

type tokenPath string

func (p *tokenPath) String() string { return string(*p) }

func (p *tokenPath) Set(s string) error {
	if s == noTokenFile {
		s = ""
	}
	*p = tokenPath(s)
	return nil
}

// consulNames are Consul's environment variables, by the flag.
var consulNames = map[string]string{
	"http-addr":       "CONSUL_HTTP_ADDR",
	"http-ssl":        "CONSUL_HTTP_SSL",
	"http-ssl-verify": "CONSUL_HTTP_SSL_VERIFY",
	"http-auth":       "CONSUL_HTTP_AUTH",
	"proxy-id":        "CONNECT_PROXY_ID", // of the gateway's service, which is not for this package
	"token":           "CONSUL_HTTP_TOKEN",
	"token-file":      "CONSUL_HTTP_TOKEN_FILE",
	"ca-file":         "CONSUL_CACERT",
	"ca-path":         "CONSUL_CAPATH",
	"client-cert":     "CONSUL_CLIENT_CERT",
	"client-key":      "CONSUL_CLIENT_KEY",
	"tls-server-name": "CONSUL_TLS_SERVER_NAME",
	"namespace":       "CONSUL_NAMESPACE",
	"partition":       "CONSUL_PARTITION",
	"grpc-addr":       "CONSUL_GRPC_ADDR",
	"grpc-ca-file":    "CONSUL_GRPC_CACERT",
	"grpc-ca-path":    "CONSUL_GRPC_CAPATH",
}

// Lookup makes the environment that config.Fill is to see of a real one: where
// Sluice's variable of a setting is not set or empty, Consul's stands in for it.
//
// A token file goes before a token only within one place, so that a token in the
// environment wins over a file named in the configuration. Fill knows each flag by
// itself; so where the environment has a token and no file, the answer for the file
// is that there shall be none.
func Lookup(lookup func(string) (string, bool)) func(string) (string, bool) {
	consul := make(map[string]string, len(consulNames))
	for name, env := range consulNames {
		consul[config.EnvName(name)] = env
	}
	has := func(name string) bool {
		v, ok := lookup(name)
		return ok && v != ""
	}
	return func(name string) (string, bool) {
		own, theirs := name, consul[name]
		if name == config.EnvName("token-file") {
			token := config.EnvName("token")
			switch {
			case has(own):
			case has(token), !has(theirs) && has(consul[token]):
				return noTokenFile, true
			}
		}
		if theirs == "" || has(own) {
			return lookup(own)
		}
		return lookup(theirs)
	}
}

// token tells what the token is: a file's if path is not empty, and token if it is
// or the file is empty. A token on the command line wins over a file named
// elsewhere.
func (s *Settings) token() (token, path string) {
	given := map[string]bool{}
	if s.flags != nil {
		s.flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	}
	if given["token"] && !given["token-file"] && s.Token != "" {
		return s.Token, ""
	}
	return s.Token, s.TokenFile
}
