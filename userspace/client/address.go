package client

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// defaultHTTP is where an agent serves HTTP unless told otherwise.
const defaultHTTP = "localhost:8500"

// httpAddress is where the agent's HTTP is.
type httpAddress struct {
	tls    bool
	socket string // path of a Unix socket, or empty
	host   string // host or host:port, for URLs
	prefix string // of the paths of URLs, "/prefix" or empty
}

// parseHTTP reads -http-addr. What it takes is what api.NewClient in Consul's
// source takes; a slash at the end is no prefix.
func parseHTTP(addr string, ssl bool) (httpAddress, error) {
	if addr == "" {
		addr = defaultHTTP
	}
	scheme, rest, has := strings.Cut(addr, "://")
	if !has {
		scheme, rest = "http", addr
	}
	a := httpAddress{tls: ssl || scheme == "https"}
	switch scheme {
	case "http", "https":
	case "unix":
		a.socket, a.host = rest, "localhost"
		if rest == "" {
			return a, errors.New("has no path")
		}
		return a, nil
	default:
		return a, fmt.Errorf("scheme %q is not http, https or unix", scheme)
	}
	u, err := url.Parse("http://" + rest)
	var bad *url.Error
	if errors.As(err, &bad) {
		err = bad.Err // without the address, which stands beside it already
	}
	if err != nil {
		return a, err
	}
	switch {
	case u.Host == "":
		return a, errors.New("has no host")
	case u.User != nil:
		return a, errors.New("has a user, which belongs into -http-auth")
	case u.RawQuery != "" || u.Fragment != "":
		return a, errors.New("has more than a host, a port and a path")
	}
	a.host, a.prefix = u.Host, strings.TrimRight(u.Path, "/")
	if port := u.Port(); port != "" {
		return a, checkPort(port)
	}
	return a, nil
}

// hostname is the host that gRPC is looked for at.
func (a httpAddress) hostname() string {
	if a.socket != "" {
		return "127.0.0.1"
	}
	if name := (&url.URL{Host: a.host}).Hostname(); name != "" {
		return name
	}
	return "localhost"
}

// parseGRPC reads -grpc-addr, as xdsAddress of command/connect/envoy/envoy.go in
// Consul's source does, into what package xds takes: "host:port" or
// "unix:///path". TLS is for https, and on a Unix socket if there are CAs for gRPC.
func parseGRPC(addr string, haveCA bool) (target string, tls bool, err error) {
	scheme, rest, has := strings.Cut(addr, "://")
	if !has {
		scheme, rest = "http", addr
	}
	switch strings.ToLower(scheme) {
	case "unix":
		if !strings.HasPrefix(rest, "/") {
			return "", false, errors.New("path of the socket does not begin with /")
		}
		return "unix://" + rest, haveCA, nil
	case "https":
		tls = true
	case "http":
	default:
		return "", false, fmt.Errorf("scheme %q is not http, https or unix", scheme)
	}
	host, port, err := net.SplitHostPort(strings.TrimSuffix(rest, "/"))
	var bad *net.AddrError
	switch {
	case errors.As(err, &bad):
		return "", false, errors.New(bad.Err)
	case err != nil:
		return "", false, err
	case host == "":
		return "", false, errors.New("has no host")
	}
	return net.JoinHostPort(host, port), tls, checkPort(port)
}

func checkPort(port string) error {
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("port %q is not 1 to 65535", port)
	}
	return nil
}
