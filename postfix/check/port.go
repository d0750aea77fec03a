package check

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// judgePort finds another program at the listener's port. Other instances of Postfix are another rule's.
func judgePort(h *host) []fault {
	kind, address, here := listenerAddress(h.Target)
	if !here || kind != "inet" || h.public != nil {
		return nil
	}
	if h.listener == nil && h.spareListener() != nil {
		return nil // the target has to become that listener (judgeListener), whoever has this port
	}
	name, pid := holderOf(address)
	if name == "" || name == "master" {
		return nil
	}
	wrong := fault{What: fmt.Sprintf("port %s, the target of [reinject], is taken by %s (process %d)",
		address, name, pid)}
	free := h.freeListener()
	wrong.Edit = h.setKey("reinject.target", "smtp://"+free)
	if h.listener != nil {
		wrong.Mend = h.setField(h.listener.ID()+"/service", free)
	}
	return []fault{wrong}
}

// holderOf is the program that listens at a TCP address of this host; "" if none does, or if its name cannot
// be read. Postfix's servers share master's socket: if master has it, master is the answer.
func holderOf(address string) (name string, pid int) {
	inodes := listeningAt(address)
	if len(inodes) == 0 {
		return "", 0
	}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		target, err := os.Readlink(link)
		inode, _ := strings.CutPrefix(strings.TrimSuffix(target, "]"), "socket:[")
		if err != nil || !slices.Contains(inodes, inode) {
			continue
		}
		folder := filepath.Dir(filepath.Dir(link))
		text, _ := os.ReadFile(folder + "/comm")
		holder := strings.TrimSpace(string(text))
		if number, _ := strconv.Atoi(filepath.Base(folder)); name == "" || holder == "master" {
			name, pid = holder, number
		}
	}
	return name, pid
}

// listeningAt gives the inodes of the sockets that take connections to an address, as proc(5) has them.
func listeningAt(address string) []string {
	host, port, err := net.SplitHostPort(address)
	number, notOne := strconv.ParseUint(port, 10, 16)
	if err != nil || notOne != nil {
		return nil
	}
	wanted, err := netip.ParseAddr(strings.Replace(host, "localhost", "127.0.0.1", 1))
	if err != nil {
		return nil
	}
	var inodes []string
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, _ := os.ReadFile(table)
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			const listening = "0A"
			if len(fields) < 10 || fields[3] != listening {
				continue
			}
			at, found := procAddress(fields[1])
			isThere := at.Addr().IsUnspecified() || at.Addr().Unmap() == wanted
			if found && isThere && at.Port() == uint16(number) {
				inodes = append(inodes, fields[9])
			}
		}
	}
	return inodes
}

// procAddress reads "0100007F:272A": words of four octets, the lowest first.
func procAddress(s string) (netip.AddrPort, bool) {
	host, port, _ := strings.Cut(s, ":")
	octets, err := hex.DecodeString(host)
	number, notOne := strconv.ParseUint(port, 16, 16)
	if err != nil || notOne != nil {
		return netip.AddrPort{}, false
	}
	for word := range slices.Chunk(octets, 4) {
		slices.Reverse(word)
	}
	addr, ok := netip.AddrFromSlice(octets)
	return netip.AddrPortFrom(addr, uint16(number)), ok
}
