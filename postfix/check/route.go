package check

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"postmend/postfix/layout"
	"postmend/postfix/postconf"
	"postmend/postfix/setup"
)

// instanceRules judge whether the instances of Postfix on this host keep out of each other's way.
var instanceRules = []Rule[*host]{
	{"instances", Error, "", "mail that one instance hands to postmend comes back to the other", judgeInstances},
}

// baseRules judge what holds whether Postfix knows postmend or not.
var baseRules = []Rule[*host]{
	{"version", Error, "", "postmend needs Postfix 3.0 or later, and is tested with 3.4 or later", judgeVersion},
	{"transport-missing", Error, "", "Postfix defers all mail for it (mail transport unavailable)", judgeTransports},
	{"listener-port", Error, "", "Postfix cannot listen there, and all mail is deferred, or goes to that program", judgePort},
}

// configRules compare postmend's configuration with Postfix; they need one that can be read.
var configRules = []Rule[*host]{
	{"local-domains-maps", Error, "", "postmend cannot tell which domains are local, and defers all mail that could be for one of them", judgeLocalTables},
	{"spool", Error, "postmend can write to the spool folder, which has room for messages", "a message for which it has no room is deferred", judgeSpool},
	{"networks", Error, "trusted_networks are Postfix's mynetworks", "mail from a client that is not in trusted_networks counts as a stranger's: it gets an SRS sender, and is rejected if it is From: a domain of ours", judgeNetworks},
	{"relay-clients", Note, "", "to postmend such a client is a stranger: its mail gets an SRS sender, and is rejected if it is From: a domain of ours", judgeRelayClients},
	{"container", Note, "", "if all clients have the same address, postmend and every other filter judge the wrong one", judgeContainer},
	{"local-domains-class", Warning, "", "postmend takes the domain for delivered here, but Postfix refuses its mail or sends it elsewhere", judgeLocalClass},
	{"local-domains", Warning, "all domains of Postfix are in local_domains", "mail to it is delivered here, but gets an SRS sender as if it were forwarded", judgeLocalDomains},
}

// routeRules judge how mail gets to the filter and from it to the next hop.
var routeRules = []Rule[*host]{
	{"filter-service", Error, "a pipe(8) service runs postmend filter", "Postfix cannot start postmend", judgeFilterService},
	{"route", Error, "mail passes postmend", "forwarded mail leaves unmended", judgeRoute},
	{"route-services", Note, "", "forwarded mail that comes in there leaves unmended, which may be intended", judgeUnfiltered},
	{"alias-forwards", Warning, "", "mail that local(8) forwards does not pass a content filter: it leaves unmended, and fails SPF and often DMARC at the next hop", judgeAliases},
	{"route-mappings", Error, "virtual aliases are expanded before the filter", "postmend sees the alias, which is local, and not the address that it leads to: forwarded mail leaves unmended", judgeMappings},
	{"listener", Error, "the target of [reinject] is a listener of this Postfix", "all mail is deferred because it cannot be handed back", judgeListener},
	{"sendmail-loop", Error, "", "mail loops until hopcount_limit, and then bounces", judgeSendmail},
	{"sendmail-directory", Error, "", "sendmail(1) refuses a configuration directory that Postfix's own main.cf does not name: all mail is deferred", judgeAlternates},
	{"line-length", Error, "lines of up to 998 octets leave as they are", "folding a line breaks our signature and the sender's", judgeLineLength},
	{"8bit", Error, "8-bit mail leaves unchanged if the next hop takes it", "Postfix converts it to quoted-printable after signing, which breaks every signature", judge8bit},
	{"after-signing", Warning, "nothing rewrites mail on its way out", "a change after signing breaks the signature", judgeOutgoing},
	{"milter-before", Note, "no DKIM milter handles mail before postmend", "if it signs, postmend may change what it signed; postmend signs by itself", judgeMilters},
	{"smtputf8", Warning, "", "mail to and from international addresses is refused", judgeSMTPUTF8},
}

func judgeVersion(h *host) []Fault {
	if !h.version().AtLeast(3, 0) {
		return one("this is Postfix "+h.version().String(), "")
	}
	if !h.version().AtLeast(3, 4) {
		return []Fault{{What: "this is Postfix " + h.version().String(), Severity: Warning}}
	}
	return nil
}

func judgeFilterService(h *host) []Fault {
	if h.filter != nil {
		return nil
	}
	return one("no pipe(8) service in master.cf runs postmend filter", h.account.first(h.planned(layout.FilterID)))
}

func judgeRoute(h *host) []Fault {
	name, other := layout.Transport, h.Main("content_filter")
	if h.filter != nil {
		name = h.filter.Name
	}
	switch {
	case h.isContentFilter() && h.isTransport():
		return one("content_filter and default_transport both lead to postmend: mail passes it twice", h.unset("default_transport"))
	case h.isContentFilter(), h.isTransport(), transport(other) == name, other != "" && !h.hasTransport(other):
		return nil // the last of these has a rule of its own
	case other != "":
		return []Fault{h.besideFilter(other)}
	}
	fault := Fault{What: "neither content_filter nor default_transport leads to postmend"}
	return []Fault{fault.switching(h, h.set("content_filter", name+":dummy"))}
}

// besideFilter says what setup says: another filter is never replaced, but postmend may come after it.
func (h *host) besideFilter(other string) Fault {
	fault := Fault{What: "content_filter = " + other + " leads to another filter, and a message has only one content filter"}
	wanted := h.wanted
	wanted.Mode = setup.Transport
	if _, err := setup.NewPlan(h.config, h.domains, wanted); err != nil {
		fault.What += "; postmend can come after it, by setup --mode transport, but not yet: " + err.Error()
		return fault
	}
	words := []string{h.Program, "setup", "--apply", "--mode", string(setup.Transport), "--user", h.filterUser()}
	if !h.config.IsDefault() {
		words = append(words, "--postfix-dir", h.config.Dir)
	}
	if file := h.configFlag(); file != "" {
		words = append(words, "-c", file)
	}
	fault.What += "; postmend can come after it"
	return fault.switching(h, Shell(words...))
}

func judgeUnfiltered(h *host) []Fault {
	if !h.isContentFilter() {
		return nil
	}
	var faults []Fault
	for _, s := range append(h.fronts(), h.servicesOf("pickup")...) {
		if h.isFiltered(s) {
			continue
		}
		if value := h.value(s, "content_filter"); value != "" && !h.hasTransport(value) {
			continue // a rule of its own
		}
		fault := Fault{What: "mail that comes in through " + s.ID() + " does not pass postmend"}
		if other, found := s.Options["content_filter"]; found && other == "" && !takesBack(s) {
			fault = fault.switching(h, h.config.UnsetOptionCommand(s.ID(), "content_filter").String())
		} else if found && other != "" {
			fault.What += ", but " + other // which is not ours to replace
		}
		if s.Program == "smtpd" && (s.Name == "smtp" || s.Name == "25" || s.Type == "pass") {
			fault.Severity = Error
		}
		faults = append(faults, fault)
	}
	return faults
}

func judgeMappings(h *host) []Fault {
	var faults []Fault
	for _, s := range append(h.fronts(), h.servicesOf("pickup")...) {
		options := list(h.value(s, "receive_override_options"))
		if !h.isFiltered(s) || !slices.Contains(options, "no_address_mappings") {
			continue
		}
		rest := slices.DeleteFunc(options, func(option string) bool { return option == "no_address_mappings" })
		faults = append(faults, Fault{What: "on " + s.ID() + ", receive_override_options holds no_address_mappings",
			Mend: h.setWhere(s, "receive_override_options", strings.Join(rest, ","))})
	}
	return once(faults)
}

func judgeListener(h *host) []Fault {
	_, address, here := listenerAddress(h.Target)
	switch spare := h.spareListener(); {
	case !here:
		return []Fault{{What: "mail is handed to " + h.Target + ", which is not a listener of this Postfix, and is not judged", Severity: Note}}
	case h.listener != nil:
		return nil
	case h.public != nil:
		return []Fault{Fault{What: "the target of [reinject], " + h.Target + ", is " + h.public.ID() + ", which takes mail from others",
			Why: "mail would loop, or be refused like a stranger's; the listener has to be a service of its own"}.moved(h)}
	case spare != nil:
		return []Fault{Fault{What: "no smtpd(8) service in master.cf listens at " + address + ", the target of [reinject]; the listener is " + spare.ID()}.moved(h)}
	}
	return one("no smtpd(8) service in master.cf listens at "+address+", the target of [reinject]", h.addListener())
}

// moved completes a fault by what has mail handed to the listener that there is, or to a new one.
func (f Fault) moved(h *host) Fault {
	if spare := h.spareListener(); spare != nil {
		f.Edit = h.setKey("reinject.target", targetAt(spare))
	} else if f.Mend = h.planned(layout.CleanupID, h.wanted.Listener+"/inet"); f.Mend != "" {
		f.Edit = h.setKey("reinject.target", "smtp://"+h.wanted.Listener)
	}
	return f
}

// judgeInstances: two masters may listen at one port, and mail of one comes back to the other.
func judgeInstances(h *host) []Fault {
	kind, address, here := listenerAddress(h.Target)
	if !here || kind != "inet" || h.public != nil {
		return nil
	}
	_, port := cutHost(address)
	var faults []Fault
	for _, other := range h.others {
		if s, found := other.AtPort(port); found {
			what := fmt.Sprintf("%s, the target of [reinject], is %s of the Postfix in %s, too: each instance needs a configuration (-c FILE) and a listener of its own; ",
				address, s.ID(), other.Dir)
			if h.config.IsDefault() {
				what += "postmend check --postfix-dir " + other.Dir + " tells how"
			} else {
				what += "nothing else of this one is judged until then"
			}
			fault := Fault{What: what}
			if mend := h.separate(); mend != "" {
				fault = fault.switching(h, mend)
			}
			faults = append(faults, fault)
		}
	}
	return faults
}

// separate is the command that gives this instance a configuration of its own; "" for Postfix's own instance, which came first.
func (h *host) separate() string {
	if h.config.IsDefault() {
		return ""
	}
	file := filepath.Join(filepath.Dir(h.ConfigFile), filepath.Base(h.config.Dir)+".toml")
	apply := Shell(h.Program, "setup", "--apply", "--postfix-dir", h.config.Dir, "--user", h.filterUser(), "-c", file)
	if h.listener == nil || file == h.ConfigFile {
		return apply
	}
	return h.config.UnsetServiceCommand(h.listener.ID()).String() + " && " + apply
}

func judgeSendmail(h *host) []Fault {
	if !strings.HasPrefix(h.Target, "sendmail:") {
		return nil
	}
	for _, s := range h.servicesOf("pickup") {
		if h.isFiltered(s) {
			return one("mail handed to sendmail(1) comes in through "+s.ID()+", which filters it again", h.setOption(s, "content_filter", ""))
		}
		if h.isTransport() && h.value(s, "content_filter") == "" {
			return one("mail handed to sendmail(1) leaves through default_transport, which is postmend", h.setOption(s, "content_filter", "smtp:"))
		}
	}
	return nil
}

func judgeAlternates(h *host) []Fault {
	if !strings.HasPrefix(h.Target, "sendmail:") || h.system == nil {
		return nil
	}
	alternates := list(h.system.alternates)
	if slices.Contains(alternates, h.config.Dir) || slices.Contains(list(h.system.instances), h.config.Dir) {
		return nil
	}
	value := strings.Join(append(alternates, h.config.Dir), " ")
	return one("alternate_config_directories of "+h.system.dir+"/main.cf does not name "+h.config.Dir,
		Shell("postconf", "-c", h.system.dir, "-e", "alternate_config_directories="+value))
}

// outgoing are the smtp(8) and lmtp(8) services, which bring mail to the next hop.
func (h *host) outgoing() []*postconf.Service { return h.servicesOf("smtp") }

func judgeLineLength(h *host) []Fault {
	var faults []Fault
	for _, s := range h.outgoing() {
		value := h.value(s, "smtp_line_length_limit")
		var n int
		if _, err := fmt.Sscan(value, &n); err == nil && n > 0 && n < 998 {
			faults = append(faults, Fault{What: fmt.Sprintf("%s folds lines of more than %d octets (smtp_line_length_limit)", s.ID(), n),
				Mend: h.setWhere(s, "smtp_line_length_limit", "998")})
		}
	}
	return once(faults)
}

// once drops faults that have the same command: one line of main.cf is behind them.
func once(faults []Fault) []Fault {
	seen := map[string]bool{}
	return slices.DeleteFunc(faults, func(f Fault) bool {
		before := seen[f.Mend]
		seen[f.Mend] = true
		return before
	})
}

func judge8bit(h *host) []Fault {
	var faults []Fault
	for _, s := range h.outgoing() {
		keywords := list(strings.ToLower(h.value(s, "smtp_discard_ehlo_keywords")))
		if slices.Contains(keywords, "8bitmime") {
			rest := slices.DeleteFunc(keywords, func(keyword string) bool { return keyword == "8bitmime" })
			faults = append(faults, Fault{What: s.ID() + " ignores 8BITMIME (smtp_discard_ehlo_keywords)",
				Mend: h.setWhere(s, "smtp_discard_ehlo_keywords", strings.Join(rest, ","))})
		}
	}
	return once(faults)
}

func judgeOutgoing(h *host) []Fault {
	var faults []Fault
	for _, row := range []struct {
		name     string
		severity Severity
		harm     string
	}{
		{"smtp_generic_maps", Warning, "rewrites addresses after signing, in signed fields too"},
		{"smtp_body_checks", Warning, "may change the body after signing"},
		{"smtp_header_checks", Note, "may change signed fields after signing"},
		{"smtp_mime_header_checks", Note, "may change the body after signing"},
		{"smtp_nested_header_checks", Note, "may change the body after signing"},
	} {
		isSaid := false // of main.cf, for all services
		for _, s := range h.outgoing() {
			_, isOwn := s.Options[row.name]
			if value := h.value(s, row.name); value != "" && (isOwn || !isSaid) {
				isSaid = isSaid || !isOwn
				faults = append(faults, Fault{What: fmt.Sprintf("%s = %s of %s %s: let another parameter do that before the filter (canonical_maps, header_checks)", row.name, value, s.ID(), row.harm),
					Severity: row.severity})
			}
		}
	}
	return faults
}

// signers are marks of DKIM milters' sockets: names, and the ports of OpenDKIM's and dkimpy-milter's documentation.
var signers = []string{"dkim", ":8891", ":8892", ":12301"}

func judgeMilters(h *host) []Fault {
	var faults []Fault
	for _, name := range []string{"smtpd_milters", "non_smtpd_milters"} {
		for _, s := range append(h.fronts(), h.servicesOf("pickup")...) {
			isOfService := (name == "smtpd_milters") == (s.Program == "smtpd")
			for _, milter := range list(h.value(s, name)) {
				isSigner := slices.ContainsFunc(signers, func(mark string) bool { return strings.Contains(strings.ToLower(milter), mark) })
				if isOfService && isSigner {
					faults = append(faults, Fault{What: fmt.Sprintf("%s of %s has %s: if it signs, take the signing of your domains out of its configuration", name, s.ID(), milter)})
				}
			}
		}
	}
	return faults
}

func without(value, word string) string {
	return strings.Join(slices.DeleteFunc(list(value), func(w string) bool { return w == word }), ", ")
}

func judgeSMTPUTF8(h *host) []Fault {
	if h.Main("smtputf8_enable") == "yes" || strings.HasPrefix(h.Main("smtputf8_enable"), "$") {
		return nil
	}
	return []Fault{{What: "smtputf8_enable is " + h.Main("smtputf8_enable"), Mend: h.set("smtputf8_enable", "yes"), Severity: Note}}
}

// DefaultSpoolDir is where a child of pipe(8), which has no TMPDIR, finds the system's temporary directory.
const DefaultSpoolDir = "/tmp"

// sharedFolders belong to every account of a host.
var sharedFolders = []string{DefaultSpoolDir, "/var/tmp", "/dev/shm"}

func judgeSpool(h *host) []Fault {
	isShared := slices.Contains(sharedFolders, h.spool.Path)
	switch {
	case h.spool.Err != nil && isShared:
		return one("spool_dir "+h.spool.Path+" "+absent(h.spool.Err), Shell("install", "-d", "-m", "1777", h.spool.Path))
	case h.spool.Err != nil:
		return one("spool_dir "+h.spool.Path+" "+absent(h.spool.Err), h.account.first(Shell("install", "-d", "-m", "0700", "-o", h.account.Name, h.spool.Path)))
	case !h.spool.Mode.IsDir():
		return one("spool_dir "+h.spool.Path+" is not a folder", "")
	}
	if !h.account.Missing || !isShared {
		if barrier := h.spool.Barrier(h.account, Write|Execute); barrier != nil {
			return one(h.account.Name+" cannot write to spool_dir "+h.spool.Path+", "+h.spool.Because(barrier), h.mendSpool(barrier, isShared))
		}
	}
	return h.judgeSpoolRoom()
}

// mendSpool is the command that lets the account write to the spool folder. One that others share stays theirs.
func (h *host) mendSpool(barrier *File, isShared bool) string {
	switch {
	case barrier.Path != h.spool.Path:
		return h.spool.LetIn(h.account)
	case isShared:
		return Shell("chmod", "1777", barrier.Path)
	}
	return h.account.first(Shell("chown", h.account.Name, barrier.Path) + " && " + Shell("chmod", "u+rwx", barrier.Path))
}

// judgeSpoolRoom has no command for a shortage: a lower message_size_limit would refuse mail for ever because room is short today.
func (h *host) judgeSpoolRoom() []Fault {
	var limit int64
	if _, err := fmt.Sscan(h.Main("message_size_limit"), &limit); err != nil || h.spoolFree < 0 {
		return nil
	}
	switch {
	case limit == 0:
		return []Fault{{What: "message_size_limit is 0: a message may be larger than the spool", Severity: Note}}
	case limit > h.spoolFree:
		return []Fault{{What: fmt.Sprintf("spool_dir %s has %d octets free, and message_size_limit is %d: free some, or name a folder with more room by spool_dir in [limits] of %s",
			h.spool.Path, h.spoolFree, limit, h.ConfigFile), Severity: Warning}}
	}
	return nil
}

func judgeLocalDomains(h *host) []Fault {
	var faults []Fault
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
		faults = append(faults, Fault{What: "not in local_domains_maps: " + strings.Join(tables, " ") + ", which holds domains of Postfix",
			Edit: h.addTo("local_domains_maps", tables...)})
	}
	if names != nil {
		faults = append(faults, Fault{What: "not in local_domains: " + strings.Join(where, ", "), Edit: h.addTo("local_domains", names...)})
	}
	return faults
}

// judgeLocalClass finds names that Postfix has lost: of two lines for a parameter in main.cf, the last one counts.
func judgeLocalClass(h *host) []Fault {
	var faults []Fault
	for _, name := range h.Local {
		if isLocalhost(name) || name == h.SRSDomain || classOf(h.domains, name) != "" {
			continue
		}
		faults = append(faults, Fault{What: name + " is in local_domains, but not in mydestination, virtual_alias_domains, virtual_mailbox_domains or relay_domains: " +
			"add it there (of two lines for one parameter in main.cf the last one counts), or take it out of local_domains"})
	}
	if faults != nil && h.domains.Unsure() {
		return []Fault{{What: "local_domains are not compared with Postfix's classes, because a table does not answer", Severity: Note}}
	}
	return faults
}

// isLocalhost takes the names that mydestination has by default and no mail from outside comes for.
func isLocalhost(name string) bool {
	return name == "localhost" || strings.HasPrefix(name, "localhost.")
}
