// Package access tells who may use which file of this host, by accounts, groups and modes, and with which
// command somebody may who has to.
package access

import (
	"bufio"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"postmend/postfix/layout"
	"postmend/postfix/postconf"
)

// SharedBy says what else uses an account: "" if nothing is known, so that it may be given keys and secrets.
// What runs as a shared account could read them, and would get what the account may do to postmend's files.
// An account that does not exist is not shared.
func SharedBy(c *postconf.Config, name string) string {
	account, err := user.Lookup(name)
	if err != nil {
		return ""
	}
	uid, err := strconv.Atoi(account.Uid)
	if err != nil {
		return ""
	}
	const firstOwn, firstPerson = 100, 1000 // Debian policy 9.2.2; UID_MIN of login.defs(5)
	mailOwner, _ := c.Expand("mail_owner")
	others, _ := c.Expand("default_privs")
	switch {
	case uid == 0:
		return "it is root"
	case name == mailOwner, name == c.Get("setgid_group"):
		return "it is Postfix's own account"
	case name == others, name == "nobody", uid == 65534:
		return "programs without an account of their own run as it"
	case uid < firstOwn:
		return "it is one of the system's general accounts"
	case uid >= firstPerson && logsIn(name):
		return "people log in to it"
	}
	if service := serviceOf(c, name); service != "" {
		return service + " in master.cf runs as it"
	}
	if unit := unitOf(name); unit != "" {
		return unit + " runs as it"
	}
	if daemon := daemonOf(uid); daemon != "" {
		return daemon + " runs as it"
	}
	return ""
}

// logsIn tells whether an account has a shell to log in to.
func logsIn(name string) bool {
	for _, fields := range Database("/etc/passwd") {
		if len(fields) == 7 && fields[0] == name {
			shell := filepath.Base(fields[6])
			return shell != "nologin" && shell != "false"
		}
	}
	return false
}

// serviceOf is a service of master.cf that runs another program than postmend as an account; "" if there is
// none.
func serviceOf(c *postconf.Config, name string) string {
	for _, s := range c.Services() {
		words := strings.Fields(s.Line)
		isAs := func(word string) bool {
			account, found := strings.CutPrefix(word, "user=")
			account, _, _ = strings.Cut(account, ":")
			return found && account == name
		}
		isOurs := func(word string) bool {
			return layout.IsProgram(strings.TrimPrefix(word, "argv="))
		}
		if slices.ContainsFunc(words, isAs) && !slices.ContainsFunc(words, isOurs) {
			return s.ID()
		}
	}
	return ""
}

// unitOf is a unit of systemd that runs another program than postmend as an account; "" if there is none.
func unitOf(name string) string {
	for _, folder := range []string{"/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system",
		"/lib/systemd/system"} {
		units, _ := filepath.Glob(folder + "/*.service")
		for _, path := range units {
			text, _ := os.ReadFile(path)
			if strings.Contains("\n"+string(text), "\nUser="+name+"\n") &&
				!strings.Contains(string(text), "postmend") {
				return filepath.Base(path)
			}
		}
	}
	return ""
}

// itsPrograms are those that postmend starts, which may outlive it for a moment.
var itsPrograms = [...]string{"sendmail", "postdrop", "postmap"}

// daemonOf is the name of a running daemon of an account, our programs aside; "" if there is none.
func daemonOf(uid int) string {
	processes, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, path := range processes {
		text, _ := os.ReadFile(path)
		var name, parent, owner string
		for line := range strings.Lines(string(text)) {
			switch key, value, _ := strings.Cut(line, ":"); key {
			case "Name":
				name = strings.TrimSpace(value)
			case "PPid":
				parent = strings.TrimSpace(value)
			case "Uid":
				owner, _, _ = strings.Cut(strings.TrimSpace(value), "\t")
			}
		}
		isOurs := layout.IsProgram(name) || slices.Contains(itsPrograms[:], name)
		if parent == "1" && owner == strconv.Itoa(uid) && !isOurs {
			return name
		}
	}
	return ""
}

// GroupSharedBy names the accounts of a group, but for root and the given one.
func GroupSharedBy(gid int, except string) []string {
	var names []string
	add := func(name string) {
		if name != "" && name != "root" && name != except && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, fields := range Database("/etc/passwd") {
		if len(fields) > 3 && fields[3] == strconv.Itoa(gid) {
			add(fields[0])
		}
	}
	for _, fields := range Database("/etc/group") {
		if len(fields) > 3 && fields[2] == strconv.Itoa(gid) {
			for _, name := range strings.Split(fields[3], ",") {
				add(name)
			}
		}
	}
	return names
}

// Database reads passwd(5) or group(5).
func Database(path string) [][]string {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer file.Close()
	var entries [][]string
	for lines := bufio.NewScanner(file); lines.Scan(); {
		entries = append(entries, strings.Split(lines.Text(), ":"))
	}
	return entries
}

// AddUserCommand makes an account of its own for postmend.
func AddUserCommand(name string) postconf.Command {
	return postconf.Command{"useradd", "--system", "--user-group", "--home-dir", "/nonexistent", "--shell",
		"/usr/sbin/nologin", name}
}
