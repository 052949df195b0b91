package dns

import (
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// notes is what the messages of one look-up say that its result does not. Its
// queries run at the same time.
type notes struct {
	mu        sync.Mutex
	questions map[question]bool // whether they were answered, if only with "there is none"
	ttl       time.Duration     // smallest of all addresses and aliases; negative if there was none
}

type question struct {
	name string // lower case
	kind dnsmessage.Type
}

func newNotes() *notes { return &notes{questions: map[question]bool{}, ttl: -1} }

// query notes the question of a message that is sent.
func (n *notes) query(msg []byte) {
	var p dnsmessage.Parser
	if _, err := p.Start(msg); err != nil {
		return
	}
	q, err := p.Question()
	if err != nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	key := keyOf(q)
	if _, asked := n.questions[key]; !asked { // the same one again is to another server
		n.questions[key] = false
	}
}

// response notes a message that was received. It may be anything: one that does
// not answer a question of this look-up is passed over.
func (n *notes) response(msg []byte) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil || !h.Response {
		return
	}
	q, err := p.Question()
	if err != nil || p.SkipAllQuestions() != nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	key := keyOf(q)
	if _, asked := n.questions[key]; !asked || h.Truncated {
		return
	}
	ttl, empty := smallestTTL(&p)
	if ttl >= 0 && (n.ttl < 0 || ttl < n.ttl) {
		n.ttl = ttl
	}
	switch {
	case h.RCode == dnsmessage.RCodeSuccess && empty && !h.Authoritative && !h.RecursionAvailable:
		// A lame server's referral to another one.
	case h.RCode == dnsmessage.RCodeSuccess, h.RCode == dnsmessage.RCodeNameError:
		n.questions[key] = true
	}
}

// smallestTTL reads the answers. It is negative if no record of interest is among
// them.
func smallestTTL(p *dnsmessage.Parser) (ttl time.Duration, empty bool) {
	ttl, empty = -1, true
	for {
		h, err := p.AnswerHeader()
		if err != nil {
			return ttl, empty
		}
		empty = false
		switch h.Type {
		case dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeCNAME:
			// RFC 2181, 8: a TTL with the highest bit set is taken for 0.
			if d := time.Duration(max(0, int32(h.TTL))) * time.Second; ttl < 0 || d < ttl {
				ttl = d
			}
		}
		if p.SkipAnswer() != nil {
			return ttl, empty
		}
	}
}

// unanswered tells whether a question of this type got no answer, under any of
// the names tried.
func (n *notes) unanswered(kind dnsmessage.Type) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for q, answered := range n.questions {
		if q.kind == kind && !answered {
			return true
		}
	}
	return false
}

// smallest is the smallest TTL seen, if there was one.
func (n *notes) smallest() (time.Duration, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ttl, n.ttl >= 0
}

func keyOf(q dnsmessage.Question) question {
	return question{name: strings.ToLower(q.Name.String()), kind: q.Type}
}
