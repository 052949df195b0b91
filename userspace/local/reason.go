package local

import (
	"errors"

	"golang.org/x/sys/unix"
)

// reason is why a flow went to the next path.
type reason uint8

const (
	taken      reason = iota // it did not
	isOff                    // the path is switched off
	isRemote                 // neither of its peers is in this network namespace
	isFull                   // all ways are taken
	notOpen                  // the peer's socket is not established any more
	hasULP                   // it has another protocol on top, such as kernel TLS
	zeroCopies               // its process waits for notices of MSG_ZEROCOPY, which would not come
	unaccepted               // no process has it yet
	blocks                   // its process waits in recv(2), which the kernel would end without a reason
	disagrees                // something in between changes sequence numbers
	isBusy                   // it is in somebody else's map
	noMemory                 // the kernel had none
	refused                  // the kernel would not have it, for another reason

	reasons // their number
)

var reasonNames = [reasons]string{
	isOff:      "off",
	isRemote:   "remote",
	isFull:     "full",
	notOpen:    "not_established",
	hasULP:     "ulp",
	zeroCopies: "zerocopy",
	unaccepted: "unaccepted",
	blocks:     "blocking",
	disagrees:  "sequence",
	isBusy:     "busy",
	noMemory:   "no_memory",
	refused:    "refused",
}

// whyRefused tells what the kernel's refusal to take a socket means.
func whyRefused(err error) reason {
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return notOpen
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		return isBusy
	case errors.Is(err, unix.E2BIG):
		return isFull
	case errors.Is(err, unix.ENOMEM):
		return noMemory
	}
	return refused
}
