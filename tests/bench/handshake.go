package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"os"
	"slices"
	"sync"
	"time"
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
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{secureName}, NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// handshakes loads a contender with new connections.
func (o order) handshakes() (measured, error) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var times []int64
	var failed error
	config := &tls.Config{ServerName: secureName, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
	begun := time.Now()
	for range o.Workload.Flows {
		wg.Go(func() {
			var own []int64
			for time.Since(begun) < o.Time {
				took, err := handshake(o.Addr, config)
				if err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
					return
				}
				own = append(own, took.Nanoseconds())
			}
			mu.Lock()
			times = append(times, own...)
			mu.Unlock()
		})
	}
	wg.Wait()
	slices.Sort(times)
	return measured{
		Seconds: time.Since(begun).Seconds(), Exchanges: uint64(len(times)),
		P50: quantile(times, .5), P99: quantile(times, .99), P999: quantile(times, .999),
	}, failed
}

// handshake opens and closes a connection, and returns the time from its hello to the
// first byte of an answer.
func handshake(addr string, config *tls.Config) (time.Duration, error) {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	timed := &timedConn{Conn: conn}
	var b [1]byte
	if _, err := tls.Client(timed, config).Read(b[:]); err != nil {
		return 0, err
	}
	return timed.answered.Sub(timed.asked), nil
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
