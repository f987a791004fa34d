package gate

import (
	"net/netip"
	"strings"
)

// forwardedHops reads the addresses of a value of Forwarded (RFC 7239, 4):
//
//	for=192.0.2.60;proto=https, for="[2001:db8::7]:4711";by=_edge
//
// An element has the zero Addr if its "for" is missing or repeated, "unknown", or an
// obfuscated name (6.3). A list that does not match the grammar has no elements:
// what a proxy has appended to it cannot be told from what the client has sent, since
// an open quote at the client's end takes in the elements after it.
func forwardedHops(list string) (hops []netip.Addr) {
	node, named := "", 0 // of the element
	for i := 0; ; i++ {
		i = skipSpace(list, i)
		if i < len(list) && list[i] != ';' && list[i] != ',' {
			name, value, next, ok := forwardedPair(list, i)
			if !ok {
				return nil
			}
			if strings.EqualFold(name, "for") {
				node = value
				named++
			}
			i = skipSpace(list, next)
		}
		if i < len(list) && list[i] == ';' {
			continue
		}
		var a netip.Addr
		if named == 1 {
			a = forwardedNode(node)
		}
		hops = append(hops, a)
		if i == len(list) {
			return hops
		}
		if list[i] != ',' {
			return nil
		}
		node, named = "", 0
	}
}

// forwardedPair reads token "=" ( token / quoted-string ) at i.
func forwardedPair(s string, i int) (name, value string, next int, ok bool) {
	end := skipToken(s, i)
	if end == i || end == len(s) || s[end] != '=' {
		return "", "", i, false
	}
	name, i = s[i:end], end+1
	if i < len(s) && s[i] == '"' {
		value, next, ok = quotedString(s, i)
		return name, value, next, ok
	}
	// Some proxies leave out the quotes around an address with a port, or in brackets.
	end = i
	for end < len(s) && (IsToken(s[end]) || strings.IndexByte(":[]", s[end]) >= 0) {
		end++
	}
	return name, s[i:end], end, end > i
}

// quotedString reads a quoted-string at i (RFC 9110, 5.6.4).
func quotedString(s string, i int) (value string, next int, ok bool) {
	var b strings.Builder
	for i++; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), i + 1, true
		case c == '\\':
			if i++; i == len(s) {
				return "", i, false
			}
			b.WriteByte(s[i])
		case c < ' ' && c != '\t' || c == 0x7f:
			return "", i, false
		default:
			b.WriteByte(c)
		}
	}
	return "", i, false
}

// forwardedNode reads a node of RFC 7239, 6. It returns the zero Addr if the node is
// not an address.
func forwardedNode(node string) (a netip.Addr) {
	host, port := node, ""
	if inside, after, ok := strings.Cut(node, "]"); ok && strings.HasPrefix(node, "[") {
		host, port = inside[1:], after
		if !strings.Contains(host, ":") {
			return a
		}
	} else if at := strings.IndexByte(node, ':'); at >= 0 && at == strings.LastIndexByte(node, ':') {
		host, port = node[:at], node[at:]
	}
	// A port is of digits, or a name that stands for it.
	if port != "" && (port[0] != ':' || len(port) == 1 || skipToken(port, 1) != len(port)) {
		return a
	}
	a, err := netip.ParseAddr(host)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}
	}
	return a.Unmap()
}

func skipSpace(s string, i int) int {
	for i < len(s) && (s[i] == ' ' || s[i] == '\t') {
		i++
	}
	return i
}

func skipToken(s string, i int) int {
	for i < len(s) && IsToken(s[i]) {
		i++
	}
	return i
}
