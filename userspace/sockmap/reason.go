package sockmap

import (
	"errors"

	"golang.org/x/sys/unix"
)

// reason is why a flow stays on the fallback.
type reason uint8

const (
	isOff       reason = iota // the path is switched off
	byPolicy                  // for the flow's route
	isFull                    // all ways are taken
	notOpen                   // a socket is not established any more: it has seen an end
	isMPTCP                   // a socket speaks more than TCP
	hasULP                    // a socket has another protocol on top, such as kernel TLS
	isBusy                    // a socket is in somebody else's map
	noMemory                  // the kernel had none
	refused                   // the kernel would not insert a socket, for another reason
	halfRefused               // it took one socket and not the other: relayed by this path

	reasons // their number
)

var reasonNames = [reasons]string{
	isOff:       "off",
	byPolicy:    "policy",
	isFull:      "full",
	notOpen:     "not_established",
	isMPTCP:     "mptcp",
	hasULP:      "ulp",
	isBusy:      "busy",
	noMemory:    "no_memory",
	refused:     "refused",
	halfRefused: "half_refused",
}

var errTooManyPolicies = errors.New("too many routes have policies of their own")

// fallenError is a reason as Admit tells it.
type fallenError reason

func (e fallenError) Error() string { return "sockmap: " + reasonNames[e] }

// whyRefused tells what the kernel's refusal to take a socket means.
func whyRefused(err error) reason {
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return notOpen
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		return isBusy
	case errors.Is(err, unix.EINVAL):
		return hasULP
	case errors.Is(err, unix.E2BIG):
		return isFull
	case errors.Is(err, unix.ENOMEM):
		return noMemory
	}
	return refused
}
