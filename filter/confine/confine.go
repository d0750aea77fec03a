// Package confine takes from this process what its work does not need, so that a message which finds a
// fault in it finds little to do with it. It uses Landlock (Linux 5.13; TCP from 6.7) where the kernel has
// it, for all threads, and for good.
//
// Reading is left to the file permissions: keys, secrets, certificates and what the resolver and the C
// library's habits ask for lie in too many places. What goes is the rest: no file is written, made or
// removed outside the spool folder, nothing is executed, TCP goes to the named ports alone, and no
// set-user-ID program could help (no_new_privs).
package confine

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"

	"postmend/filter/config"
	"postmend/reinject"
	"postmend/srs/store"
)

// Needs are what stays allowed.
type Needs struct {
	SpoolDir string   // files may be made and removed in it
	TCPPorts []uint16 // may be connected to
	StoreDir string   // files and folders may be made and removed in it; "" if there is none
}

// NeedsOf gives the needs of a filter with this configuration. tempDir is the system's temporary directory,
// as the filter sees it. Ports go for any host. ok is false where nothing can be taken, because programs of
// Postfix do a part of the work: sendmail(1) as the target, postmap(1) for tables of local domains.
func NeedsOf(c *config.Config, tempDir string) (needs Needs, ok bool) {
	target, err := reinject.ParseTarget(c.Reinject.Target)
	if err != nil || target.Scheme == reinject.Sendmail || len(c.LocalDomainsMaps) > 0 {
		return Needs{}, false
	}
	needs.SpoolDir = cmp.Or(c.Limits.SpoolDir, tempDir)
	ports := []uint16{53}
	if target.Port != 0 {
		ports = append(ports, target.Port)
	}
	if _, port, err := net.SplitHostPort(c.Resolver); err == nil {
		if number, err := strconv.ParseUint(port, 10, 16); err == nil {
			ports = append(ports, uint16(number))
		}
	}
	if location, err := store.Parse(c.SRS.Store); err == nil && c.SRS.Domain != "" {
		needs.StoreDir = location.Dir
		if location.Port != 0 {
			ports = append(ports, location.Port)
		}
	}
	slices.Sort(ports)
	needs.TCPPorts = slices.Compact(ports)
	return needs, true
}

const (
	spooling = landlock.AccessFSSet(
		ll.AccessFSWriteFile | ll.AccessFSMakeReg | ll.AccessFSRemoveFile | ll.AccessFSTruncate)
	storing = spooling | ll.AccessFSMakeDir | ll.AccessFSRemoveDir
	// forbidden is all of ABI 3 but reading.
	forbidden = spooling | ll.AccessFSExecute | ll.AccessFSRemoveDir | ll.AccessFSMakeChar |
		ll.AccessFSMakeDir | ll.AccessFSMakeSock | ll.AccessFSMakeFifo | ll.AccessFSMakeBlock |
		ll.AccessFSMakeSym | ll.AccessFSRefer
	overTCP = landlock.AccessNetSet(ll.AccessNetBindTCP | ll.AccessNetConnectTCP)
)

// Apply confines the process to its needs as far as the kernel can. The error is for who asks what is
// active: without Landlock the work goes on.
func Apply(needs Needs) error {
	rules := []landlock.Rule{landlock.PathAccess(spooling, needs.SpoolDir).IgnoreIfMissing()}
	if needs.StoreDir != "" {
		rules = append(rules, landlock.PathAccess(storing, needs.StoreDir).IgnoreIfMissing())
	}
	for _, port := range needs.TCPPorts {
		rules = append(rules, landlock.ConnectTCP(port))
	}
	allowed := landlock.Config{HandledAccessFS: forbidden, HandledAccessNet: overTCP}
	return allowed.BestEffort().Restrict(rules...)
}

// String says what is left.
func (n Needs) String() string {
	ports := make([]string, len(n.TCPPorts))
	for i, port := range n.TCPPorts {
		ports[i] = strconv.Itoa(int(port))
	}
	dirs := n.SpoolDir
	if n.StoreDir != "" {
		dirs += " and " + n.StoreDir
	}
	return fmt.Sprintf("writes to %s alone, executes nothing, connects by TCP to port %s alone, of any host",
		dirs, strings.Join(ports, ", "))
}

// AtOnce tells whether the kernel can confine all threads at once (Linux 7.0). Before it could, every
// thread has to be interrupted for each of two system calls, which costs a short-lived process a tenth of
// its time.
func AtOnce() bool { return abi() >= 8 }

// abi is the version of Landlock's interface, 0 if there is none.
func abi() int {
	version, err := ll.LandlockGetABIVersion()
	if err != nil {
		return 0
	}
	return version
}

// Active says for people what protects a process that handles mail with these needs, nil if nothing can be
// taken: one thing an element. It asks about the process it is called in, and of Landlock, which is for
// good, only whether it would be used.
func Active(needs *Needs) []string {
	var active []string
	if AtOnce() && needs != nil {
		active = append(active, fmt.Sprintf("Landlock (version %d): %s", abi(), needs))
	}
	var core unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_CORE, &core) == nil && core.Max == 0 {
		active = append(active, "no core dumps")
	}
	if dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err == nil && dumpable == 0 {
		active = append(active, "memory closed to other processes")
	}
	return active
}
