package check

import (
	"fmt"
	"slices"
	"strings"

	"postmend/postfix/access"
	"postmend/postfix/postconf"
)

// baseRules judge what holds whether Postfix knows postmend or not.
var baseRules = []rule[*host]{
	{"version", Error, "", "postmend needs Postfix 3.0 or later, and is tested with 3.7 and 3.10",
		judgeVersion},
	{"postfix-warnings", Note, "", "the setting may not do what you intended", judgeWarnings},
	{"transport-missing", Error, "", "Postfix defers all mail for it (mail transport unavailable)",
		judgeTransports},
	{"listener-port", Error, "",
		"Postfix cannot listen there, and all mail is deferred, or goes to that program", judgePort},
}

// configRules compare postmend's configuration with Postfix; they need one that can be read.
var configRules = []rule[*host]{
	{"local-domains-maps", Error, "", "postmend cannot tell which domains are local, and defers all mail " +
		"that could be for one of them", judgeLocalTables},
	{"spool", Error, "postmend can write to the spool folder, which has room for messages",
		"a message for which it has no room is deferred", judgeSpool},
	{"networks", Error, "trusted_networks are Postfix's mynetworks", "mail from a client that is not in " +
		"trusted_networks counts as mail from outside: it gets an SRS sender, and is rejected if its From: " +
		"is in a domain of yours", judgeNetworks},
	{"relay-clients", Note, "", "mail from such a client counts as mail from outside: it gets an SRS " +
		"sender, and is rejected if its From: is in a domain of yours", judgeRelayClients},
	{"hidden-logins", Error, "", "nothing tells postmend which mail your users have sent: it counts as " +
		"mail from outside, is not signed, and waits in the queue if it would be rejected",
		judgeHiddenLogins},
	{"container", Note, "",
		"if Postfix sees one address for all clients, postmend and every other filter judge the wrong client",
		judgeContainer},
	{"local-domains-class", Warning, "", "postmend treats the domain as local, but Postfix " +
		"refuses its mail or sends it elsewhere", judgeLocalClass},
	{"domain-classes", Warning, "", "Postfix logs a warning for each message to it (\"do not list domain … " +
		"in BOTH\"), and uses the first parameter only", judgeDoubles},
	{"local-domains", Warning, "all domains of Postfix are in local_domains",
		"mail to it is delivered here, but gets an SRS sender as if it were forwarded", judgeLocalDomains},
	{"from-address", Note, "the address in a rewritten From: exists",
		"mail by LMTP, and mail whose alias cannot stand in From:, has this author; receivers that verify " +
			"addresses reject one that does not exist", judgeNewAuthor},
}

// judgeWarnings passes on what Postfix says about its files. A value with a brace that is not closed is cut
// in the wrong places: each of its tables fails, and mail is deferred.
func judgeWarnings(h *host) []fault {
	var faults []fault
	for _, warning := range h.config.Warnings {
		wrong := fault{What: "postconf(1) warns: " + warning}
		if strings.Contains(warning, "missing '") {
			wrong.Severity, wrong.Why = Error, "Postfix cannot read the value as it stands: mail is deferred"
		}
		faults = append(faults, wrong)
	}
	return faults
}

// defaultSpoolDir is where a child of pipe(8), which has no TMPDIR, finds the system's temporary directory.
const defaultSpoolDir = "/tmp"

// sharedFolders belong to every account of a host.
var sharedFolders = []string{defaultSpoolDir, "/var/tmp", "/dev/shm"}

func judgeSpool(h *host) []fault {
	isShared := slices.Contains(sharedFolders, h.spool.Path)
	switch {
	case h.spool.Err != nil && isShared:
		return one("spool_dir "+h.spool.Path+" "+absent(h.spool.Err),
			shell("install", "-d", "-m", "1777", h.spool.Path))
	case h.spool.Err != nil:
		return one("spool_dir "+h.spool.Path+" "+absent(h.spool.Err),
			h.account.First(shell("install", "-d", "-m", "0700", "-o", h.account.Name, h.spool.Path)))
	case !h.spool.Mode.IsDir():
		return one("spool_dir "+h.spool.Path+" is not a folder", "")
	}
	if !h.account.IsMissing || !isShared {
		if barrier := h.spool.Barrier(h.account, access.MayWrite|access.MayExecute); barrier != nil {
			return one(h.account.Name+" cannot write to spool_dir "+h.spool.Path+", "+
				h.spool.Because(barrier), h.mendSpool(barrier, isShared))
		}
	}
	return h.judgeSpoolRoom()
}

// mendSpool is the command that lets the account write to the spool folder. One that others share stays
// theirs.
func (h *host) mendSpool(barrier *access.File, isShared bool) string {
	switch {
	case barrier.Path != h.spool.Path:
		return h.spool.LetIn(h.account)
	case isShared:
		return shell("chmod", "1777", barrier.Path)
	}
	return h.account.First(shell("chown", h.account.Name, barrier.Path) + " && " +
		shell("chmod", "u+rwx", barrier.Path))
}

// judgeSpoolRoom has no command for a shortage: a lower message_size_limit would refuse mail for ever because
// room is short today.
func (h *host) judgeSpoolRoom() []fault {
	var limit int64
	if _, err := fmt.Sscan(h.Main("message_size_limit"), &limit); err != nil || h.spoolFree < 0 {
		return nil
	}
	switch {
	case limit == 0:
		return []fault{{What: "message_size_limit is 0: a message may be larger than the spool",
			Severity: Note}}
	case limit > h.spoolFree:
		return []fault{{What: fmt.Sprintf("spool_dir %s has %d octets free, and message_size_limit is %d: "+
			"free some space, or set spool_dir in [limits] of %s to a folder with more room",
			h.spool.Path, h.spoolFree, limit, h.ConfigFile), Severity: Warning}}
	}
	return nil
}

func judgeLocalDomains(h *host) []fault {
	var faults []fault
	var tables, names, where []string
	for _, table := range h.domains.Tables {
		if !slices.Contains(h.LocalTables, table) {
			tables = append(tables, table)
		}
	}
	for _, name := range h.domains.Names {
		if !isLocalhost(name) && strings.TrimPrefix(name, ".") != h.SRSDomain && !h.IsLocal(name) {
			names, where = append(names, name), append(where, name+" of "+h.domains.Class(name))
		}
	}
	if tables != nil {
		faults = append(faults, fault{What: "not in local_domains_maps: " + strings.Join(tables, " ") +
			", which holds domains of Postfix",
			Edit: h.addTo("local_domains_maps", tables...)})
	}
	if names != nil {
		faults = append(faults, fault{What: "not in local_domains: " + strings.Join(where, ", "),
			Edit: h.addTo("local_domains", names...)})
	}
	return faults
}

// judgeLocalClass finds names that Postfix has lost: of two lines for a parameter in main.cf, the last one
// counts.
func judgeLocalClass(h *host) []fault {
	var faults []fault
	for _, name := range h.Local {
		if isLocalhost(name) || name == h.SRSDomain || h.domains.ClassAbove(name) != "" {
			continue
		}
		faults = append(faults, fault{What: name + " is in local_domains, but not in mydestination, " +
			"virtual_alias_domains, virtual_mailbox_domains or relay_domains: " +
			"add it there (of two lines for one parameter in main.cf the last one counts), or take it out " +
			"of local_domains"})
	}
	if faults != nil && h.domains.Unsure() {
		return []fault{{What: "local_domains are not compared with Postfix's classes, because a table " +
			"does not answer", Severity: Note}}
	}
	return faults
}

// judgeDoubles finds domains in two of the parameters that name domains. The SRS domain, which setup may have
// put there, leaves the second one; for others a person has to decide.
func judgeDoubles(h *host) []fault {
	var faults []fault
	for _, d := range h.domains.Doubles {
		wrong := fault{What: fmt.Sprintf("%s is in %s and in %s; take it out of one of them", d.Name,
			d.First, d.Second)}
		words := postconf.List(h.config.Get(d.Second))
		if d.Name == h.SRSDomain && slices.Contains(words, d.Name) {
			rest := slices.DeleteFunc(words, func(word string) bool { return word == d.Name })
			wrong.Mend = h.set(d.Second, strings.Join(rest, ", "))
		}
		faults = append(faults, wrong)
	}
	return faults
}

// isLocalhost tells whether a name is one of mydestination's defaults for which no mail comes from outside.
func isLocalhost(name string) bool {
	return name == "localhost" || strings.HasPrefix(name, "localhost.")
}
