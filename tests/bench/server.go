package main

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// serve answers connections at an address, and TLS at another one, until the process
// is killed.
func serve(addr, secure string) error {
	l, err := listen(addr)
	if err != nil {
		return err
	}
	if err := serveTLS(secure); err != nil {
		return err
	}
	fmt.Println("serving")
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			// A client that has measured enough goes away without a word: errors
			// mean nothing here, and wrong counts are seen by the client.
			_ = answer(c.(*net.TCPConn))
		}()
	}
}

func listen(addr string) (net.Listener, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	return lc.Listen(ctxBackground, "tcp", addr)
}

func answer(conn *net.TCPConn) error {
	defer conn.Close()
	c, err := readCommand(conn)
	if err != nil {
		return err
	}
	if c.op == opMany {
		return echo(conn, int(c.size))
	}
	w, err := take(conn)
	if err != nil {
		return err
	}
	defer w.close()
	switch c.op {
	case opSink:
		return sink(w)
	case opSource:
		return source(w, nil)
	case opBoth:
		var wg sync.WaitGroup
		stop := make(chan struct{})
		wg.Go(func() { _ = source(w, stop) })
		var n uint64
		for {
			got, err := w.discard(piece)
			if err != nil {
				break
			}
			n += uint64(got)
		}
		close(stop)
		wg.Wait()
		return nil
	case opEcho:
		return echo(w, int(c.size))
	case opHash:
		return hash(w, int64(c.size))
	}
	return fmt.Errorf("command %d", c.op)
}

// sink drops what comes and answers with how much that was.
func sink(w *wire) error {
	var n uint64
	for {
		got, err := w.discard(piece)
		if errors.Is(err, io.EOF) {
			return w.write(binary.BigEndian.AppendUint64(nil, n))
		}
		if err != nil {
			return err
		}
		n += uint64(got)
	}
}

// source writes until the other side has had enough.
func source(w *wire, stop <-chan struct{}) error {
	b := make([]byte, piece)
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		if err := w.write(b); err != nil {
			return err
		}
	}
}

func echo(c io.ReadWriter, size int) error {
	b := make([]byte, size)
	for {
		if _, err := io.ReadFull(c, b); err != nil {
			return err
		}
		if _, err := c.Write(b); err != nil {
			return err
		}
	}
}

// hash answers with the SHA-256 of what it was sent, and then sends it back.
func hash(w *wire, size int64) error {
	b := make([]byte, size)
	if _, err := io.ReadFull(w, b); err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	if err := w.write(sum[:]); err != nil {
		return err
	}
	return w.write(b)
}
