package mirror

import (
	"bytes"
	"strings"
)

// keyOf is the key of a route's name: the longest key that begins with the one of
// LookupKey is the route that route.Table.Lookup finds.
func keyOf(name string) RouteKey {
	var k RouteKey
	if under, wild := strings.CutPrefix(name, "*"); wild {
		// ".x" reversed is "x.", and of "*" alone nothing is left.
		k.Bits = 8 * uint32(reverse(k.Name[:], under))
		return k
	}
	n := reverse(k.Name[:], name)
	k.Bits = 8 * uint32(n+1) // with the NUL
	return k
}

// Route is the route's name that a key stands for. It is not checked.
func (k *RouteKey) Route() string {
	n := min(k.Bits/8, nameSize)
	used := k.Name[:n]
	var buf [nameSize]byte
	if n > 0 && used[n-1] == 0 {
		reverse(buf[:], string(used[:n-1]))
		return string(buf[:n-1])
	}
	buf[0] = '*'
	return string(buf[:1+reverse(buf[1:], string(used))])
}

// LookupKey is the key by which to look a server name up, and false for what is no
// name at all.
func LookupKey(name []byte) (RouteKey, bool) {
	var k RouteKey
	if len(name) == 0 || name[0] == '.' {
		return k, false
	}
	// No route's name is so long that it would need what is cut off.
	n := reverse(k.Name[:], name[max(0, len(name)-nameSize):])
	// A NUL ends exact names, and none has it inside. Nor does any have this.
	for i := bytes.IndexByte(k.Name[:n], 0); i >= 0 && i < n; i = bytes.IndexByte(k.Name[:n], 0) {
		k.Name[i] = 0xff
	}
	k.Bits = 8 * uint32(min(n+1, nameSize))
	return k, true
}

// reverse writes src backwards, and returns its length.
func reverse[T string | []byte](dst []byte, src T) int {
	n := min(len(src), len(dst))
	for i := range n {
		dst[i] = src[len(src)-1-i]
	}
	return n
}
