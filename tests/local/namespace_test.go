package local

import (
	"net"
	"net/netip"
	"testing"

	"sluice/scripts/lab"
	"sluice/scripts/lab/labtest"
)

// TestNamespaces: a peer is here when its end of the connection is in the namespace of
// who asks, and neither elsewhere on this host nor as a listener.
func TestNamespaces(t *testing.T) {
	k := load(t)
	l := labtest.New(t, "client", "gateway")
	client, gateway := l.NS("client"), l.NS("gateway")
	for _, addr := range []string{gateway.Left.IPv4.String(), gateway.Left.IPv6.String()} {
		at := net.JoinHostPort(addr, "8443")
		listener, err := gateway.Listen("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		for _, c := range []struct {
			name string
			from *lab.Namespace
			here bool
		}{{"next door", client, false}, {"here", gateway, true}} {
			t.Run(c.name+", "+addr, func(t *testing.T) {
				peer, err := c.from.Dial(t.Context(), "tcp", at)
				if err != nil {
					t.Fatal(err)
				}
				defer peer.Close()
				own, err := listener.Accept()
				if err != nil {
					t.Fatal(err)
				}
				defer own.Close()
				ask := func(own, other netip.AddrPort) bool {
					t.Helper()
					var found bool
					err := gateway.Do(func() (err error) {
						found, err = k.Find(own, other)
						return err
					})
					if err != nil {
						t.Fatal(err)
					}
					return found
				}
				near, far := own.LocalAddr().(*net.TCPAddr).AddrPort(), own.RemoteAddr().(*net.TCPAddr).AddrPort()
				if got := ask(near, far); got != c.here {
					t.Errorf("its client is here: %t", got)
				}
				if nobody := netip.AddrPortFrom(far.Addr(), 1); ask(nobody, near) {
					t.Error("the listener was taken for a peer")
				}
			})
		}
	}
}
