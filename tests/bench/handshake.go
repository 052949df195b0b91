package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"sluice/tests/bench/figure"
)

// The handshake workload opens connections of real TLS 1.3, from the client's hello to
// the server's first byte of data, one after the other on each of its flows.

// serveTLS answers each connection with a byte and closes it.
func serveTLS(addr string) error {
	cert, err := selfSigned()
	if err != nil {
		return err
	}
	l, err := listen(addr)
	if err != nil {
		return err
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				fmt.Fprintln(os.Stderr, "server:", err)
				return
			}
			go func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(patience))
				_, _ = tls.Server(c, config).Write([]byte{1})
			}()
		}
	}()
	return nil
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{secure.name}, NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// handshakes loads a contender with new connections.
func (o order) handshakes() (figure.Measured, error) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var whole, hello []int64
	var failed error
	config := &tls.Config{ServerName: o.Name, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
	work, err := startMeter(o.PIDs)
	if err != nil {
		return figure.Measured{}, err
	}
	begun := time.Now()
	for range o.Workload.Flows {
		wg.Go(func() {
			var own []handshaken
			var err error
			for err == nil && time.Since(begun) < o.Time {
				var took handshaken
				took, err = handshake(o.Addr, config)
				own = append(own, took)
			}
			mu.Lock()
			defer mu.Unlock()
			failed = errors.Join(failed, err)
			for _, h := range own {
				whole, hello = append(whole, h.whole.Nanoseconds()), append(hello, h.hello.Nanoseconds())
			}
		})
	}
	wg.Wait()
	got := figure.Measured{Seconds: time.Since(begun).Seconds(), Exchanges: uint64(len(whole))}
	failed = errors.Join(failed, work.stop(&got))
	slices.Sort(whole)
	slices.Sort(hello)
	got.Exchange, got.Hello = figure.Quantiles(whole), figure.Quantiles(hello)
	return got, failed
}

// handshaken is how long a connection took: from its beginning to the first byte of
// data, and of that from the ClientHello to the first byte of an answer.
type handshaken struct{ whole, hello time.Duration }

// handshake opens and closes a connection.
func handshake(addr string, config *tls.Config) (handshaken, error) {
	begun := time.Now()
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return handshaken{}, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	timed := &timedConn{Conn: conn}
	var b [1]byte
	if _, err := tls.Client(timed, config).Read(b[:]); err != nil {
		return handshaken{}, err
	}
	return handshaken{time.Since(begun), timed.answered.Sub(timed.asked)}, nil
}

// timedConn notes when it was first written to, and when the first answer came.
type timedConn struct {
	net.Conn
	asked, answered time.Time
}

func (c *timedConn) Write(b []byte) (int, error) {
	if c.asked.IsZero() {
		c.asked = time.Now()
	}
	return c.Conn.Write(b)
}

func (c *timedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.answered.IsZero() {
		c.answered = time.Now()
	}
	return n, err
}
