package main

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/poll"
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
	loop, err := poll.New()
	if err != nil {
		return err
	}
	go func() { fmt.Fprintln(os.Stderr, "bench: server:", loop.Run()) }()
	fmt.Println("serving")
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			// A client that has measured enough goes away without a word: errors
			// mean nothing here, and wrong counts are seen by the client.
			_ = answer(loop, c.(*net.TCPConn))
		}()
	}
}

func listen(addr string) (net.Listener, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	return lc.Listen(ctxBackground, "tcp", addr)
}

func answer(loop *poll.Loop, conn *net.TCPConn) error {
	defer conn.Close()
	c, err := readCommand(conn)
	if err != nil {
		return err
	}
	w, err := take(conn)
	if err != nil {
		return err
	}
	if c.op == opMany {
		echoLoop(loop, w, int(c.size))
		return nil
	}
	defer w.Close()
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

// quiet is how long nothing must have come for the server to tell how much did. The
// client cannot ask by ending its stream, for not every proxy lets the other direction
// live on then.
const quiet = 20 * time.Millisecond

// sink drops what comes, and tells how much that was in all, each time that it stops.
func sink(w *wire) error {
	if err := w.timeout(unix.SO_RCVTIMEO, quiet); err != nil {
		return err
	}
	var n, told uint64
	for {
		got, err := w.discard(piece)
		switch {
		case err == nil:
			n += uint64(got)
		case !errors.Is(err, unix.EAGAIN):
			return err
		case n != told:
			if err := w.write(binary.BigEndian.AppendUint64(nil, n)); err != nil {
				return err
			}
			told = n
		}
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

func echo(c *wire, size int) error {
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
