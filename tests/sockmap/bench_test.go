package sockmap

import (
	"io"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkPingPong has messages go to and fro over each path, with nothing else to
// do. cpu-us/op is what the loop's thread takes of it.
func BenchmarkPingPong(b *testing.B) {
	for _, path := range []string{"sockmap", "splice"} {
		b.Run(path, func(b *testing.B) {
			r := newRig(b, options{})
			f := r.connect()
			f.startOn(r.carrier(path))
			buf := make([]byte, 128)
			before := r.cpu(b)
			b.ResetTimer()
			for range b.N {
				for _, way := range [2][2]net.Conn{{f.client, f.server}, {f.server, f.client}} {
					if _, err := way[0].Write(buf); err != nil {
						b.Fatal(err)
					}
					if _, err := io.ReadFull(way[1], buf); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(r.cpu(b)-before)/float64(b.N)/1e3, "cpu-us/op")
		})
	}
}

// BenchmarkBulk sends one stream as fast as it goes.
func BenchmarkBulk(b *testing.B) {
	for _, path := range []string{"sockmap", "splice"} {
		b.Run(path, func(b *testing.B) {
			r := newRig(b, options{})
			f := r.connect()
			f.startOn(r.carrier(path))
			const piece = 1 << 20
			b.SetBytes(piece)
			sent := make(chan error, 1)
			before := r.cpu(b)
			b.ResetTimer()
			go func() {
				buf := make([]byte, piece)
				for range b.N {
					if _, err := f.client.Write(buf); err != nil {
						sent <- err
						return
					}
				}
				sent <- nil
			}()
			buf := make([]byte, 256<<10)
			for left := b.N * piece; left > 0; {
				n, err := f.server.Read(buf)
				if err != nil {
					b.Fatal(err)
				}
				left -= n
			}
			if err := <-sent; err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(r.cpu(b)-before)/float64(b.N)/1e3, "cpu-us/op")
		})
	}
}

// BenchmarkShortFlows makes and ends flows of a few bytes.
func BenchmarkShortFlows(b *testing.B) {
	for _, path := range []string{"sockmap", "splice"} {
		b.Run(path, func(b *testing.B) {
			r := newRig(b, options{})
			buf := make([]byte, 100)
			before := r.cpu(b)
			for range b.N {
				f := r.connect()
				f.carryOn(r.carrier(path))
				if _, err := f.client.Write(buf); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(f.server, buf); err != nil {
					b.Fatal(err)
				}
				f.client.Close()
				f.server.Close()
				f.wait()
			}
			b.ReportMetric(float64(r.cpu(b)-before)/float64(b.N)/1e3, "cpu-us/op")
		})
	}
}

func (r *rig) carrier(path string) carrier {
	if path == "splice" {
		return r.splice
	}
	return r.path
}

// cpu is the processor time that the loop's thread has taken so far, in ns.
func (r *rig) cpu(t testing.TB) (ns int64) {
	t.Helper()
	r.do(func() {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
			t.Error(err)
		}
		ns = ts.Nano()
	})
	return ns
}
