package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// startCopy runs what a Go program does in the simplest way.
func startCopy(p *place) error {
	args := []string{p.at.String()}
	for _, s := range services {
		args = append(args, s.name+"="+p.to(s).String())
	}
	cmd, err := start(p.ns, "copy", args...)
	if err != nil {
		return err
	}
	fmt.Fprintf(&p.config, "$ bench copy %s\n", strings.Join(args, " "))
	p.cmds = append(p.cmds, cmd)
	return nil
}

// copyProxy reads a connection's hello, dials, and copies both ways. Go's io.Copy uses
// splice(2) between TCP sockets.
func copyProxy(at string, routes []string) error {
	l, err := listen(at)
	if err != nil {
		return err
	}
	fmt.Println("serving")
	for {
		c, err := l.Accept()
		if errors.Is(err, unix.EMFILE) {
			time.Sleep(time.Millisecond) // as a server would: until others have ended
			continue
		}
		if err != nil {
			return err
		}
		go relay(c.(*net.TCPConn), routes)
	}
}

func relay(down *net.TCPConn, routes []string) {
	defer down.Close()
	head := make([]byte, 5)
	if _, err := io.ReadFull(down, head); err != nil {
		return
	}
	hello := make([]byte, 5+int(binary.BigEndian.Uint16(head[3:])))
	copy(hello, head)
	if _, err := io.ReadFull(down, hello[5:]); err != nil {
		return
	}
	conn, err := net.Dial("tcp", upstream(hello, routes))
	if err != nil {
		return
	}
	defer conn.Close()
	up := conn.(*net.TCPConn)
	if _, err := up.Write(hello); err != nil {
		return
	}
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(up, down)
		_ = up.CloseWrite()
		close(done)
	}()
	_, _ = io.Copy(down, up)
	_ = down.CloseWrite()
	<-done
}

// upstream is where the first of the names leads that the hello has in it; there are
// few, and none is a part of another.
func upstream(hello []byte, routes []string) string {
	for _, route := range routes {
		if name, to, _ := strings.Cut(route, "="); bytes.Contains(hello, []byte(name)) {
			return to
		}
	}
	return ""
}
