package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// procHost is one on which process 40 is a gateway that listens on 10.0.0.1:8443 and
// [::]:9102, and process 50 a web server on 0.0.0.0:80.
func procHost(running int) *Host {
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	socket := func(local, state string, inode int) string {
		return fmt.Sprintf("   0: %s 00000000:0000 %s 00000000:00000000 00:00000000 00000000     0        0 %d 1 0000000000000000 100 0 0 10 0\n", local, state, inode)
	}
	h := hostOf(files{
		"proc/net/tcp": head + socket("0100000A:20FB", "0A", 101) + socket("00000000:0050", "0A", 102) +
			socket("0100007F:1F90", "01", 103) + socket("0100007F:1F91", "0A", 104) + "short\n",
		"proc/net/tcp6":   head + socket("00000000000000000000000000000000:238E", "0A", 105) + socket("xyz:1", "0A", 1),
		"proc/40/comm":    "sluice\n",
		"proc/40/cmdline": "/usr/local/bin/sluice\x00gateway\x00-config\x00x\x00",
		"proc/40/fd/3":    "->/dev/null",
		"proc/40/fd/7":    "->socket:[101]",
		"proc/40/fd/8":    "->socket:[105]",
		"proc/50/comm":    "nginx\n",
		"proc/50/cmdline": "nginx: master\x00",
		"proc/50/fd/5":    "->socket:[102]",
		"proc/uptime":     "1 1\n",
	})
	h.Running = running
	h.Bind = func(netip.AddrPort, bool) error { return fmt.Errorf("bind: %w", unix.EADDRINUSE) }
	return h
}

func TestAddress(t *testing.T) {
	failing := func(err error) *Host {
		h := hostOf(nil)
		h.Bind = func(netip.AddrPort, bool) error { return fmt.Errorf("bind: %w", err) }
		return h
	}
	for _, c := range []struct {
		name          string
		host          *Host
		addr          string
		level         Level
		found, remedy string
	}{
		{"free", hostOf(nil), "10.0.0.1:8443", OK, "free", ""},
		{"not here", failing(unix.EADDRNOTAVAIL), "10.0.0.9:8443", Fail, "does not have", "ip address add 10.0.0.9"},
		{"not allowed", failing(unix.EACCES), "10.0.0.1:443", Fail, "not allowed", "CAP_NET_BIND_SERVICE"},
		{"no IPv6", failing(unix.EAFNOSUPPORT), "[::]:8443", Fail, "no IPv6", "-listen=0.0.0.0:8443"},
		{"something else", failing(unix.EINVAL), "[fe80::1]:8443", Fail, "invalid argument", "another"},
		{"our gateway, which said so", procHost(40), "10.0.0.1:8443", OK, "sluice gateway, process 40", ""},
		{"our gateway, by its looks", procHost(0), "10.0.0.1:8443", OK, "sluice gateway, process 40", ""},
		{"another gateway", procHost(41), "10.0.0.1:8443", Fail, "another gateway has it: sluice gateway, process 40", "-share-ports"},
		{"a web server", procHost(0), "10.0.0.1:80", Fail, "taken by nginx, process 50", "stop"},
		{"an IPv6 wildcard", procHost(0), "10.0.0.1:9102", OK, "process 40", ""},
		{"a wildcard in the way of one address", procHost(0), "0.0.0.0:8443", OK, "process 40", ""},
		{"a connection only", procHost(0), "127.0.0.1:8080", Fail, "nobody listens there", "ss -ltnp 'sport = :8080'"},
		{"a hidden process", procHost(0), "127.0.0.1:8081", Fail, "no process shows", "as root"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := planOf(func(p *Plan) { p.Listen = listenOn(c.addr) })
			r := Run(t.Context(), AddressChecks(c.host, p), time.Minute)
			expect(t, one(t, r.Lines, "listen "+c.addr), c.level, c.found, c.remedy)
		})
	}
}

func TestNoAddress(t *testing.T) {
	p := planOf(func(p *Plan) {
		p.Listen = func(context.Context) ([]netip.AddrPort, error) { return nil, errors.New("the agent is away") }
	})
	r := Run(t.Context(), AddressChecks(hostOf(nil), p), time.Minute)
	expect(t, one(t, r.Lines, "listen"), Fail, "the agent is away", "-listen")
}

func TestMetricsAddress(t *testing.T) {
	for _, c := range []struct {
		bind          string
		level         Level
		found, remedy string
	}{
		{"127.0.0.1:9102", OK, "free", ""},
		{":9102", OK, "free", ""},
		{"127.0.0.1", Fail, "missing port", "-metrics-bind"},
		{"127.0.0.1:none", Fail, "", "-metrics-bind"},
	} {
		p := planOf(func(p *Plan) { p.Metrics = c.bind })
		r := Run(t.Context(), AddressChecks(hostOf(nil), p), time.Minute)
		expect(t, one(t, r.Lines, "metrics "+c.bind), c.level, c.found, c.remedy)
	}
}

// TestRealAddress: who has it is found on this host too.
func TestRealAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	h := &Host{FS: os.DirFS("/"), Bind: Bind}
	expect(t, h.address("x", addr, false), Fail, fmt.Sprintf("process %d", os.Getpid()), "stop that one")

	l.Close()
	for _, share := range []bool{false, true} {
		if err := Bind(addr, share); err != nil {
			t.Errorf("bind, share %t: %v", share, err)
		}
	}
	if err := Bind(netip.MustParseAddrPort("192.0.2.1:1"), false); !errors.Is(err, unix.EADDRNOTAVAIL) {
		t.Errorf("an address of nobody's: %v", err)
	}
	if err := Bind(netip.MustParseAddrPort("[::1]:0"), false); err != nil {
		t.Errorf("IPv6: %v", err)
	}
}

// TestBindDisturbsNobody: connections go to the listener, while its port is bound by us.
func TestBindDisturbsNobody(t *testing.T) {
	listen, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(listen)
	for _, err := range []error{
		unix.SetsockoptInt(listen, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
		unix.Bind(listen, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}),
		unix.Listen(listen, 128),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	sa, err := unix.Getsockname(listen)
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(sa.(*unix.SockaddrInet4).Port))
	stop := make(chan struct{})
	bound := make(chan error, 1)
	go func() {
		var err error
		for n := 0; err == nil; n++ {
			select {
			case <-stop:
				bound <- nil
				return
			default:
				err = Bind(addr, true)
			}
		}
		bound <- err
	}()
	for range 100 {
		c, err := net.DialTimeout("tcp", addr.String(), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		fd, _, err := unix.Accept(listen)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
	}
	close(stop)
	if err := <-bound; err != nil {
		t.Error(err)
	}
}

func TestParseProcAddr(t *testing.T) {
	for text, want := range map[string]string{
		"0100007F:20FB":                         "127.0.0.1:8443",
		"00000000000000000000000001000000:0050": "[::1]:80",
		"B80D0120000000000000000001000000:0001": "[2001:db8::1]:1",
	} {
		if got, ok := parseProcAddr(text); !ok || got.String() != want {
			t.Errorf("%s is %v, %t; want %s", text, got, ok, want)
		}
	}
	for _, text := range []string{"", ":", "01:1", "0100007F", "0100007F:10000", "zz00007F:1"} {
		if got, ok := parseProcAddr(text); ok {
			t.Errorf("%q is %v", text, got)
		}
	}
}
