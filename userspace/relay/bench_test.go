package relay

import (
	"io"
	"testing"
)

// BenchmarkBulk moves as much as it can in one direction.
func BenchmarkBulk(b *testing.B) {
	f := newRig(b, 0, 0).carry()
	buf := make([]byte, 1<<20)
	b.SetBytes(int64(len(buf)))
	go func() {
		for range b.N {
			if _, err := f.client.Write(buf); err != nil {
				b.Error(err)
				break
			}
		}
		f.client.CloseWrite()
	}()
	n, err := io.Copy(io.Discard, struct{ io.Reader }{f.server})
	if err != nil || n != int64(b.N*len(buf)) {
		b.Errorf("received %d bytes, %v", n, err)
	}
}

// BenchmarkPingPong sends 128 bytes there and back.
func BenchmarkPingPong(b *testing.B) {
	f := newRig(b, 0, 0).carry()
	go func() { _, _ = io.Copy(struct{ io.Writer }{f.server}, struct{ io.Reader }{f.server}) }()
	buf := make([]byte, 128)
	for b.Loop() {
		if _, err := f.client.Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(f.client, buf); err != nil {
			b.Fatal(err)
		}
	}
}
