package dns

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// server is a small name server on loopback, over UDP and TCP on one port. What it
// says may be changed while it runs.
type server struct {
	t    *testing.T
	addr netip.AddrPort

	mu      sync.Mutex
	zone    map[string]zone // by names with their last dot
	asked   map[string][]time.Time
	stopped func()
	busy    int // questions for A records being answered
	busiest int
}

// zone is what there is to say for a name. One that is not in the map does not
// exist.
type zone struct {
	addrs    []netip.Addr
	ttl      uint32
	alias    string // CNAME of the records, with aliasTTL
	aliasTTL uint32
	rcode    dnsmessage.RCode
	v6       dnsmessage.RCode // for questions for AAAA records; rcode if 0
	mute     bool             // no answer at all
	muteV6   bool             // none for AAAA records
	drip     bool             // over TCP, byte by byte
	hold     chan struct{}    // no answer until this is closed
}

// newServer starts a server with nothing in it.
func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, addr: netip.MustParseAddrPort("127.0.0.1:0"), zone: map[string]zone{}, asked: map[string][]time.Time{}}
	for range 20 { // the port that TCP gave us may be taken for UDP
		if s.start() == nil {
			t.Cleanup(s.stop)
			return s
		}
		s.addr = netip.MustParseAddrPort("127.0.0.1:0")
	}
	t.Fatal("found no port free for both UDP and TCP")
	return nil
}

// start listens on the server's address.
func (s *server) start() error {
	ln, err := net.Listen("tcp", s.addr.String())
	if err != nil {
		return err
	}
	s.addr = ln.Addr().(*net.TCPAddr).AddrPort()
	pc, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(s.addr))
	if err != nil {
		ln.Close()
		return err
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { s.serveUDP(pc, done, &wg) })
	wg.Go(func() { s.serveTCP(ln, done, &wg) })
	s.stopped = sync.OnceFunc(func() {
		close(done)
		ln.Close()
		pc.Close()
		wg.Wait()
	})
	return nil
}

func (s *server) stop() { s.stopped() }

// restart listens on the same address again. Somebody else may have it for a
// moment.
func (s *server) restart() {
	s.t.Helper()
	eventually(s.t, "the server's port is free", func() bool { return s.start() == nil })
}

func (s *server) set(name string, z zone) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if z.ttl == 0 {
		z.ttl = 3600
	}
	s.zone[name] = z
}

func (s *server) remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.zone, name)
}

// times is when a name's A records were asked for.
func (s *server) times(name string) []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[name]
}

func (s *server) serveUDP(pc *net.UDPConn, done chan struct{}, wg *sync.WaitGroup) {
	buf := make([]byte, 4096)
	for {
		n, from, err := pc.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		query := append([]byte(nil), buf[:n]...)
		wg.Go(func() {
			if msg, _ := s.answer(query, done); msg != nil {
				if len(msg) > 1232 { // what Go's resolver takes over UDP
					msg = truncated(query)
				}
				_, _ = pc.WriteToUDPAddrPort(msg, from)
			}
		})
	}
}

func (s *server) serveTCP(ln net.Listener, done chan struct{}, wg *sync.WaitGroup) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		wg.Go(func() {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			var length [2]byte
			if _, err := io.ReadFull(conn, length[:]); err != nil {
				return
			}
			query := make([]byte, binary.BigEndian.Uint16(length[:]))
			if _, err := io.ReadFull(conn, query); err != nil {
				return
			}
			msg, z := s.answer(query, done)
			msg = append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
			piece := len(msg)
			if z.drip {
				piece = 1
			}
			for ; len(msg) > 0; msg = msg[piece:] {
				if _, err := conn.Write(msg[:piece]); err != nil {
					return
				}
			}
		})
	}
}

// answer returns the response to a query, nil for none.
func (s *server) answer(query []byte, done chan struct{}) ([]byte, zone) {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil {
		return nil, zone{}
	}
	q, err := p.Question()
	if err != nil {
		return nil, zone{}
	}
	name := strings.ToLower(q.Name.String())
	s.mu.Lock()
	z, exists := s.zone[name]
	if q.Type == dnsmessage.TypeA {
		s.asked[name] = append(s.asked[name], time.Now())
		s.busy++
		s.busiest = max(s.busiest, s.busy)
	}
	s.mu.Unlock()
	if z.hold != nil {
		select {
		case <-z.hold:
		case <-done:
		}
	}
	if q.Type == dnsmessage.TypeA {
		s.mu.Lock()
		s.busy--
		s.mu.Unlock()
	}
	isV6 := q.Type == dnsmessage.TypeAAAA
	if z.mute || z.muteV6 && isV6 {
		return nil, z
	}
	if !exists {
		z.rcode = dnsmessage.RCodeNameError
	}
	if isV6 && z.v6 != 0 {
		z.rcode = z.v6
	}
	return response(h.ID, q, z), z
}

func response(id uint16, q dnsmessage.Question, z zone) []byte {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: id, Response: true, RecursionAvailable: true, RCode: z.rcode})
	b.EnableCompression()
	try(b.StartQuestions())
	try(b.Question(q))
	try(b.StartAnswers())
	owner := q.Name
	if z.alias != "" {
		alias := dnsmessage.MustNewName(z.alias)
		try(b.CNAMEResource(dnsmessage.ResourceHeader{Name: owner, Class: q.Class, TTL: z.aliasTTL}, dnsmessage.CNAMEResource{CNAME: alias}))
		owner = alias
	}
	h := dnsmessage.ResourceHeader{Name: owner, Class: q.Class, TTL: z.ttl}
	for _, a := range z.addrs {
		switch {
		case z.rcode != dnsmessage.RCodeSuccess:
		case a.Is4() && q.Type == dnsmessage.TypeA:
			try(b.AResource(h, dnsmessage.AResource{A: a.As4()}))
		case a.Is6() && q.Type == dnsmessage.TypeAAAA:
			try(b.AAAAResource(h, dnsmessage.AAAAResource{AAAA: a.As16()}))
		}
	}
	msg, err := b.Finish()
	try(err)
	return msg
}

// truncated is the response that sends the client to TCP.
func truncated(query []byte) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	try(err)
	q, err := p.Question()
	try(err)
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: h.ID, Response: true, RecursionAvailable: true, Truncated: true})
	try(b.StartQuestions())
	try(b.Question(q))
	msg, err := b.Finish()
	try(err)
	return msg
}

func try(err error) {
	if err != nil {
		panic(err)
	}
}

// eventually waits for something that takes its time on a busy machine.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for begin := time.Now(); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("after 20 s, still not: %s", what)
		}
	}
}
