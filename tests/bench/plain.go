package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
)

// startCopy runs what a Go program does in the simplest way.
func startCopy(s *site, at netip.AddrPort) (*exec.Cmd, error) {
	return s.start(s.gateway, "copy", at.String(), s.upstream(serverPort).String(), s.upstream(securePort).String())
}

// copyProxy reads a connection's hello, dials, and copies both ways. Go's io.Copy uses
// splice(2) between TCP sockets.
func copyProxy(at, plain, secure string) error {
	l, err := listen(at)
	if err != nil {
		return err
	}
	fmt.Println("serving")
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go relay(c.(*net.TCPConn), plain, secure)
	}
}

func relay(down *net.TCPConn, plain, secure string) {
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
	upstream := plain
	if bytes.Contains(hello, []byte(secureName)) {
		upstream = secure
	}
	conn, err := net.Dial("tcp", upstream)
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
