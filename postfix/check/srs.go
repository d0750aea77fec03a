package check

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"postmend/postfix/access"
	"postmend/postfix/layout"
	"postmend/postfix/postconf"
	"postmend/postfix/setup"
)

// srsRules judge the way of bounces: SRS domain, reverse table, and what an earlier set-up with PostSRSd has
// left.
var srsRules = []rule[*host]{
	{"srs-class", Error, "Postfix accepts mail for the SRS domain",
		"bounces to SRS addresses are refused: \"Relay access denied\"", judgeClass},
	{"srs-reverse", Error, "a table reverses SRS addresses", "bounces to SRS addresses do not reach the " +
		"original sender, and forged addresses are accepted at first", judgeReverse},
	{"srs-order", Error, "no other table answers for SRS addresses",
		"bounces do not reach the original sender, and forged addresses are accepted", judgeOrder},
	{"srs-forged", Warning, "", "spam to forged addresses is accepted instead of rejected at RCPT TO",
		judgeForged},
	{"srs-postmaster", Warning, "postmaster@ the SRS domain exists",
		"every domain that accepts mail has to have this address (RFC 5321 section 4.5.1)", judgePostmaster},
	{"srs-table", Error, "", "look-ups fail: bounces to SRS addresses are deferred, and all mail if the " +
		"table has no pattern in front of it", judgeTables},
	{"srs-classes", Warning, "",
		"To: and Cc: fields with SRS addresses are rewritten, which breaks the sender's signature",
		judgeCanonicalClasses},
	{"postsrsd", Error, "no other program rewrites senders",
		"postmend sees a sender that was rewritten already, and checks SPF for the wrong domain",
		judgePostSRSd},
}

func judgeClass(h *host) []fault {
	if h.srsClass != "" {
		return nil
	}
	return one(h.SRSDomain+" is not in mydestination, relay_domains, virtual_alias_domains or "+
		"virtual_mailbox_domains",
		h.planned("virtual_alias_domains"))
}

// reverseMaps are the parameters whose tables cleanup(8) and smtpd(8) ask for recipients.
var reverseMaps = []string{"recipient_canonical_maps", "virtual_alias_maps"}

func judgeReverse(h *host) []fault {
	for _, name := range reverseMaps {
		for _, entry := range entries(h.Main(name)) {
			if t := h.tableAt(entry); t != nil && t.direction == "reverse" {
				return nil
			}
		}
	}
	return one("neither virtual_alias_maps nor recipient_canonical_maps asks postmend lookup reverse",
		h.account.First(h.planned(h.plannedTable(), "virtual_alias_maps")))
}

// plannedTable is the service that setup would add for the table.
func (h *host) plannedTable() string {
	if h.plan == nil {
		return ""
	}
	for _, change := range h.plan.Changes {
		if change.Service && change.Now != nil && strings.Contains(*change.Now, " lookup reverse") {
			return change.Name
		}
	}
	return ""
}

// entries are the tables of a list, those within pipemap and unionmap included.
func entries(value string) []string {
	var all []string
	for _, entry := range postconf.List(value) {
		entry = strings.TrimPrefix(entry, "proxy:")
		kind, inner, _ := strings.Cut(entry, ":")
		if kind == "pipemap" || kind == "unionmap" {
			inner = strings.TrimSuffix(strings.TrimPrefix(inner, "{"), "}")
			all = append(all, entries(inner)...)
			continue
		}
		all = append(all, entry)
	}
	return all
}

// tableCommand is the right command of a table's service.
func (h *host) tableCommand(direction, protocol string) string {
	ours := layout.Program{Path: h.programPath(), ConfigFile: h.configFlag()}
	argv := ours.LookupArgv(direction, protocol)
	argv[0] = "argv=" + argv[0]
	return join(append([]string{"spawn", "user=" + h.filterUser()}, argv...))
}

// tableAt finds the service that answers a map of main.cf.
func (h *host) tableAt(entry string) *table {
	kind, address, _ := strings.Cut(entry, ":")
	network := "inet"
	if kind == "socketmap" {
		network, address, _ = strings.Cut(address, ":")
		address = address[:max(strings.LastIndexByte(address, ':'), 0)]
	}
	if kind != "tcp" && kind != "socketmap" {
		return nil
	}
	if network == "unix" && !filepath.IsAbs(address) {
		address = filepath.Join(h.Main("queue_directory"), address)
	}
	for _, t := range h.tables {
		if h.listensAt(t.Service, network, address) {
			return t
		}
	}
	return nil
}

func judgeTables(h *host) []fault {
	var faults []fault
	for _, t := range h.tables {
		mend := h.account.First(h.setField(t.ID()+"/command", h.tableCommand(t.direction, t.protocol)))
		switch {
		case h.inChroot(t.Service):
			faults = append(faults, fault{What: t.ID() + " runs in a chroot",
				Mend: h.setField(t.ID()+"/chroot", "n")})
		case t.Unprivileged != "n":
			faults = append(faults, fault{What: t.ID() + " runs without privileges",
				Mend: h.setField(t.ID()+"/unprivileged", "n")})
		case h.tableUserFault(t) != "":
			faults = append(faults, fault{What: t.ID() + ": " + h.tableUserFault(t), Mend: mend})
		case t.user.UID != h.account.UID && h.Secrets.Err == nil && h.Secrets.Path != "" &&
			h.Secrets.Barrier(t.user, access.MayRead) != nil:
			faults = append(faults,
				fault{What: fmt.Sprintf("%s runs as %s, which cannot read %s; postmend's account is %s",
					t.ID(), t.user.Name, h.Secrets.Path, h.account.Name), Mend: mend})
		case t.program.Err != nil:
			faults = append(faults, fault{What: t.ID() + ": " + t.program.Path + " " + absent(t.program.Err),
				Mend: mend})
		}
		for _, name := range append([]string{"sender_canonical_maps"}, reverseMaps...) {
			for _, entry := range entries(h.Main(name)) {
				kind, _, _ := strings.Cut(entry, ":")
				if h.tableAt(entry) == t && kind != t.protocol {
					faults = append(faults,
						fault{What: fmt.Sprintf("%s asks %s by the protocol %s, but it speaks %s", name,
							t.ID(), kind, t.protocol),
							Mend: h.account.First(h.setField(t.ID()+"/command",
								h.tableCommand(t.direction, kind)))})
				}
			}
		}
	}
	return faults
}

func judgeCanonicalClasses(h *host) []fault {
	if !slices.Contains(postconf.List(h.Main("recipient_canonical_classes")), "header_recipient") {
		return nil
	}
	for _, entry := range entries(h.Main("recipient_canonical_maps")) {
		if t := h.tableAt(entry); t != nil || setup.IsPostSRSd(entry, "reverse") {
			wrong := fault{What: "recipient_canonical_maps asks " + entry +
				" for addresses in the header, too",
				Mend: h.set("recipient_canonical_classes", "envelope_recipient")}
			if len(postconf.List(h.Main("recipient_canonical_maps"))) > 1 || h.Main("canonical_maps") != "" {
				wrong.What += ": move it to virtual_alias_maps, as setup does; " +
					"recipient_canonical_classes applies to your other tables, too"
				wrong.Mend = ""
			}
			if t == nil {
				wrong.Severity = Note
			}
			return []fault{wrong}
		}
	}
	return nil
}

// judgePostSRSd finds the table that reverses PostSRSd's addresses. It is needed as long as bounces to such
// addresses arrive.
func judgePostSRSd(h *host) []fault {
	var faults []fault
	for _, entry := range postconf.List(h.config.Get("recipient_canonical_maps")) {
		if h.tableAt(entry) == nil && setup.IsPostSRSd(entry, "reverse") {
			faults = append(faults, fault{What: "recipient_canonical_maps asks " + entry +
				", which seems to be PostSRSd: remove it three weeks after PostSRSd made its last address",
				Why: "until then bounces to those addresses need it", Severity: Note})
		}
	}
	return append(judgeRewriters(h), faults...)
}
