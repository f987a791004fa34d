package measure

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// SendQueues returns, for each connection to a server's address, by the client's address, how many bytes the kernel buffers that
// the server has written and the client has not received. Connections of servers on other machines or in other network
// namespaces are not included.
func SendQueues(server netip.AddrPort) map[netip.AddrPort]int64 {
	all := map[netip.AddrPort]int64{}
	for _, name := range []string{"tcp", "tcp6"} { // tcp6 also has the IPv4 clients of a socket for both
		sendQueues(filepath.Join("/proc/net", name), server, all)
	}
	return all
}

// sendQueues reads lines such as
//
//	0: 0100007F:1F90 0101017F:C350 01 00000A2C:00000000 …
//	   local         remote       st tx       rx
func sendQueues(file string, server netip.AddrPort, all map[netip.AddrPort]int64) {
	f, err := os.Open(file)
	if err != nil {
		return
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		local, ok := address(fields[1])
		if !ok || local != server {
			continue
		}
		remote, ok := address(fields[2])
		sent, _, _ := strings.Cut(fields[4], ":")
		n, err := strconv.ParseInt(sent, 16, 64)
		if ok && err == nil {
			all[remote] = n
		}
	}
}

// address reads an address of such a line: words of 4 bytes in the machine's byte order, and a port.
func address(text string) (netip.AddrPort, bool) {
	ip, port, _ := strings.Cut(text, ":")
	b, err := hex.DecodeString(ip)
	p, bad := strconv.ParseUint(port, 16, 16)
	if err != nil || bad != nil {
		return netip.AddrPort{}, false
	}
	for i := 0; i+4 <= len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	a, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a.Unmap(), uint16(p)), ok
}
