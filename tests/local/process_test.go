package local

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/tests/harness"
	"sluice/userspace/rehearsal"
	"sluice/userspace/slot"
)

// What processes may do with their own sockets without being harmed.

// TestRefused has a flow whose client the path must not touch: its server is enrolled
// all the same, and the flow not harmed.
func TestRefused(t *testing.T) {
	foreign := harness.NewForeign(t)
	for _, c := range []struct {
		name string
		make func(fd int) error
	}{
		{"blocking", block},
		{"zerocopy", func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ZEROCOPY, 1) }},
		{"ulp", addULP},
		{"busy", foreign.Insert},
	} {
		for _, both := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, both: %t", c.name, both), func(t *testing.T) {
				path, refused, senders := "local", 1, 1
				if both {
					path, refused, senders = "splice", 2, 0
				}
				eachRig(t, path, func(t *testing.T, r *rig) error {
					f, err := r.Connect()
					if err != nil {
						return err
					}
					for _, fd := range f.Peers[:refused] {
						if err := c.make(fd); err != nil {
							t.Skipf("this kernel has it not: %v", err)
						}
					}
					if err := f.Carry(); err != nil {
						return err
					}
					if n, err := r.kernel.Senders(); n != senders || err != nil {
						t.Errorf("%d senders, %v; want %d", n, err, senders)
					}
					if n := r.engine.Fallen()[c.name]; both && n != 1 {
						t.Errorf("counted %d", n)
					}
					b := rehearsal.Bytes(1000)
					return errors.Join(f.Pass(0, b), f.Pass(1, b))
				})
			})
		}
	}
}

func addULP(fd int) error {
	return unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_ULP, "tls")
}

// TestSplice has enrolled processes splice: what they receive out of their sockets, and
// what they send into them.
func TestSplice(t *testing.T) {
	onRig(t, "local", slot.MessageRedirected, func(r *rig) error {
		f, err := r.begin()
		if err != nil {
			return err
		}
		var pipe [2]int
		if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
			return err
		}
		defer unix.Close(pipe[0])
		defer unix.Close(pipe[1])
		b := rehearsal.Bytes(10_000)
		for turn := range 50 {
			from, to := f.Peers[turn%2], f.Peers[1-turn%2]
			if err := rehearsal.Send(from, b); err != nil {
				return err
			}
			// Out of the receiver, and back into it.
			for moved := 0; moved < len(b); {
				if err := readable(to); err != nil {
					return err
				}
				n, err := unix.Splice(to, nil, pipe[1], nil, len(b), unix.SPLICE_F_NONBLOCK)
				if err != nil {
					return fmt.Errorf("turn %d: splice from a socket after %d bytes: %w", turn, moved, err)
				}
				moved += int(n)
				for left := n; left > 0; left -= n {
					if n, err = unix.Splice(pipe[0], nil, to, nil, int(left), 0); err != nil {
						return fmt.Errorf("turn %d: splice into a socket: %w", turn, err)
					}
				}
			}
			if err := rehearsal.Expect(from, b, false); err != nil {
				return fmt.Errorf("turn %d: %w", turn, err)
			}
		}
		return nil
	})
}

// TestSendfile has enrolled processes send a file.
func TestSendfile(t *testing.T) {
	eachRig(t, "local", func(t *testing.T, r *rig) error {
		f, err := r.begin()
		if err != nil {
			return err
		}
		b := rehearsal.Bytes(30_000)
		file, err := os.Create(filepath.Join(t.TempDir(), "file"))
		if err != nil {
			return err
		}
		defer file.Close()
		if _, err := file.Write(b); err != nil {
			return err
		}
		for turn := range 50 {
			var at int64
			for at < int64(len(b)) {
				n, err := unix.Sendfile(f.Peers[turn%2], int(file.Fd()), &at, len(b)-int(at))
				if err != nil && err != unix.EAGAIN {
					return fmt.Errorf("turn %d: send a file, after %d bytes: %w", turn, n, err)
				}
			}
			if err := rehearsal.Expect(f.Peers[1-turn%2], b, false); err != nil {
				return fmt.Errorf("turn %d: %w", turn, err)
			}
		}
		return nil
	})
}

func readable(fd int) error {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds()))
	if err == nil && n == 0 {
		err = errors.New("nothing to read")
	}
	if err == unix.EINTR {
		return readable(fd)
	}
	return err
}

// TestKernelTLS has enrolled processes go on with kernel TLS. Linux 6.1.0-56 and 6.12.117
// of Debian refuse the keys with EINVAL on a socket that is in a map, upon which a library
// goes on to encrypt by itself. Where a kernel takes them, records must be encrypted on
// their way, and none of their bytes be redirected before.
func TestKernelTLS(t *testing.T) {
	eachRig(t, "local", func(t *testing.T, r *rig) error {
		f, err := r.begin()
		if err != nil {
			return err
		}
		for i, fd := range f.Peers {
			if err := addULP(fd); err != nil {
				t.Skipf("this kernel has no TLS: %v", err)
			}
			tx, rx := setKey(fd, tlsTX, byte(i)), setKey(fd, tlsRX, byte(1-i))
			t.Logf("keys of peer %d: %v, %v", i, tx, rx)
			if tx != rx || tx != nil && tx != unix.EINVAL {
				return errors.New("a half of kernel TLS")
			}
		}
		before := r.count(r.past)
		b := rehearsal.Bytes(20_000)
		for turn := range 20 {
			if err := f.Pass(turn%2, b); err != nil {
				return fmt.Errorf("turn %d: %w", turn, err)
			}
		}
		if r.count(r.past) != before || r.count(slot.MessageULP) == 0 {
			return errors.New("messages went past TCP before they were encrypted")
		}
		return nil
	})
}

// From linux/tls.h.
const (
	solTLS       = 282
	tlsTX        = 1
	tlsRX        = 2
	tls12Version = 0x0303
	aesGCM128    = 51
)

// setKey has the kernel encrypt or decrypt with a key of the test's: that of direction
// number n.
func setKey(fd, what int, n byte) error {
	var info [40]byte // struct tls12_crypto_info_aes_gcm_128
	info[0], info[1] = tls12Version&0xff, tls12Version>>8
	info[2] = aesGCM128
	for i := 4; i < len(info); i++ {
		info[i] = n
	}
	clear(info[32:]) // the sequence number
	return unix.SetsockoptString(fd, solTLS, what, string(info[:]))
}

// TestForeignTarget: a socket of the gateway's on which another's program comes to see what
// is sent gets nothing past TCP any more, for what is relayed to it may go who knows where.
func TestForeignTarget(t *testing.T) {
	eachRig(t, "local", func(t *testing.T, r *rig) error {
		f, err := r.begin()
		if err != nil {
			return err
		}
		if err := harness.NewForeign(t).Insert(f.Own[1]); err != nil {
			return err
		}
		past, foreign := r.count(r.past), r.count(slot.MessageForeign)
		b := rehearsal.Bytes(1000)
		for range 10 {
			if err := f.Pass(0, b); err != nil {
				return err
			}
		}
		if now := r.count(r.past); now != past || r.count(slot.MessageForeign) == foreign {
			t.Errorf("%d messages went past TCP", now-past)
		}
		return nil
	})
}

// TestOthers: a connection beside a flow, between the same hosts and to the same port,
// is not touched.
func TestOthers(t *testing.T) {
	eachRig(t, "local", func(t *testing.T, r *rig) error {
		other, err := r.Connect()
		if err != nil {
			return err
		}
		defer other.Discard()
		f, err := r.begin()
		if err != nil {
			return err
		}
		if n, err := r.kernel.Senders(); n != 2 || err != nil {
			t.Errorf("%d senders, %v", n, err)
		}
		before, err := r.kernel.Messages()
		if err != nil {
			return err
		}
		b := rehearsal.Bytes(1000)
		if err := rehearsal.Send(other.Peers[0], b); err != nil {
			return err
		}
		after, err := r.kernel.Messages()
		if before != after {
			t.Errorf("messages %v, then %v", before, after)
		}
		return errors.Join(err, f.Pass(0, b))
	})
}

// TestAgentGone takes the programs away under processes that are enrolled, as the end
// of an agent does: their sockets go on, over TCP.
func TestAgentGone(t *testing.T) {
	k := load(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var foreign, own [2]*net.TCPConn
	for i := range foreign {
		c, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		a, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		foreign[i], own[i] = c.(*net.TCPConn), a.(*net.TCPConn)
	}
	var cookies [2]uint64
	for i, c := range own {
		control(t, c, func(fd int) (err error) {
			if cookies[i], err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE); err != nil {
				return err
			}
			return k.Insert(cookies[i], fd)
		})
	}
	k.Ways()[0].Target.Store(cookies[1])
	answer, err := k.Enrol(own[0].LocalAddr().(*net.TCPAddr).AddrPort(), own[0].RemoteAddr().(*net.TCPAddr).AddrPort(), cookies[0], cookies[1], 0)
	if answer != slot.Enrolls || err != nil {
		t.Fatal(answer, err)
	}
	say := func(word string, from, to *net.TCPConn) {
		t.Helper()
		b := make([]byte, len(word))
		if _, err := from.Write([]byte(word)); err != nil {
			t.Fatal(err)
		}
		if _, err := to.Read(b); err != nil || string(b) != word {
			t.Fatalf("read %q, %v; want %q", b, err, word)
		}
	}
	say("redirected", foreign[0], foreign[1]) // past its own connection
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	// The kernel frees the maps after a while.
	eventually(t, "a socket that nothing is the matter with", func() bool {
		if err := own[0].SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 16)
		if _, err := foreign[0].Write([]byte("by TCP")); err != nil {
			t.Fatal(err)
		}
		n, _ := own[0].Read(b)
		return string(b[:n]) == "by TCP"
	})
	if err := own[0].SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	say("and back", own[0], foreign[0])
}

func control(t *testing.T, c *net.TCPConn, f func(fd int) error) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if e := raw.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil || err != nil {
		t.Fatal(errors.Join(e, err))
	}
}
