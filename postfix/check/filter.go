package check

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"postmend/filter/config"
	"postmend/postfix/access"
	"postmend/postfix/layout"
)

// areaFilter is the entry of master.cf that runs us.
const areaFilter = "filter service"

// filterRules judge the pipe(8) service that runs us.
var filterRules = []rule[*host]{
	{"filter-master-columns", Error, "the filter service runs outside a chroot, with pipe(8)'s privileges",
		"all mail is deferred: in a chroot the program is not found, and without privileges pipe(8) " +
			"cannot change to the account",
		judgeColumns},
	{"filter-flags", Error, "flags=q, and no other flag",
		"without q, addresses are passed on unquoted; other flags change the message or its recipients " +
			"before postmend reads them",
		judgeFlags},
	{"filter-null-sender", Error, "null_sender= is empty",
		"without it bounces reach postmend as mail from MAILER-DAEMON, and a bounce that cannot be " +
			"delivered bounces in turn",
		judgeNullSender},
	{"filter-sender", Error, "-f ${sender} are two words",
		"with the null sender, -f${sender} is only -f, which takes the next word as the sender",
		judgeSender},
	{"filter-recipients", Error, "the recipients come last, after --",
		"an address that starts with a hyphen would be read as a flag, and a recipient that is not passed " +
			"on gets no mail",
		judgeRecipients},
	{"filter-macros", Error, "pipe(8) of this version knows every macro in argv",
		"all mail is deferred because of one unknown macro",
		judgeMacros},
	{"filter-arguments", Error, "argv passes on what Postfix knows about the message",
		"postmend needs it to judge and to trace a message",
		judgeArguments},
	{"filter-attributes", Error, "pipe(8) knows every attribute of the service",
		"all mail is deferred because of one unknown attribute",
		judgeAttributes},
	{"filter-user", Error, "user= is an account of its own",
		"other programs that use the account can read the keys and the SRS secret; as root or as " +
			"Postfix's account, pipe(8) runs nothing and all mail is deferred",
		judgeUser},
	{"filter-program", Error, "the program exists, and only root can change it",
		"a missing program defers all mail, an empty one loses it, and whoever can change it reads all mail",
		judgeProgram},
	{"filter-status-filter", Error,
		"pipe_delivery_status_filter defers mail when the filter crashes or times out",
		"without it Postfix bounces mail when the filter is killed",
		judgeStatusFilter},
	{"filter-time-limit", Error, "Postfix's time limit is longer than postmend's deadline",
		"a run that reaches Postfix's limit is killed; postmend itself defers the message at its deadline",
		judgeTimeLimit},
	{"filter-recipient-limit", Warning, "recipients whose outcomes may differ have runs of their own",
		"one exit status counts for all recipients of a run: a refusal cannot be given to one of them",
		judgeRecipientLimit},
	{"filter-processes", Warning, "enough messages are filtered at once",
		"a process may wait for DNS for up to dns_deadline; while all of them wait, local mail waits, too",
		judgeProcesses},
	{"filter-config-file", Warning, "the filter reads the configuration that was checked",
		"postmend runs with another configuration than the one checked here",
		judgeConfigFile},
}

// mendFilter is the command that makes the service's command right, as a whole: postconf replaces it as a
// whole, and so one mend does not undo another.
func (h *host) mendFilter() string {
	return h.account.First(h.setField(h.filter.ID()+"/command", h.filterCommand()))
}

// findAccount is the account that postmend should run as: the one in master.cf if it may, else the one that
// the keys belong to, else a new one.
func (h *host) findAccount() *access.User {
	if h.command != nil && h.userFault() == "" {
		return h.user
	}
	for _, t := range h.tables {
		if h.tableUserFault(t) == "" {
			return t.user
		}
	}
	for _, name := range h.Owners {
		if u, err := access.LookupUser(name, ""); err == nil && access.SharedBy(h.config, name) == "" {
			return u
		}
	}
	if h.command != nil && h.userErr != nil {
		if value, _ := h.command.attribute("user"); value != "" && !strings.Contains(value, ":") {
			return access.MissingUser(value)
		}
	}
	if u, err := access.LookupUser(layout.User, ""); err == nil {
		return u
	}
	return access.MissingUser(layout.User)
}

// filterUser is the value of user= that is right for the filter.
func (h *host) filterUser() string {
	if h.command != nil && h.userFault() == "" {
		value, _ := h.command.attribute("user") // maybe with a group
		return value
	}
	return h.account.Name
}

// filterCommand is the right command of the service, with what the operator chose and may choose.
func (h *host) filterCommand() string {
	var options []string
	if h.command != nil {
		options = slices.Concat(h.command.options, h.command.misplaced)
	}
	if !h.statusFilterWorks() {
		options = append(withoutOption(options, "pipe_delivery_status_filter"), "-o",
			"pipe_delivery_status_filter="+h.statusFilter())
	}
	list := append([]string{"pipe"}, options...)
	ours := layout.Program{Path: h.programPath(), ConfigFile: h.configFlag(), User: h.filterUser()}
	list = append(list, ours.FilterAttributes()...)
	argv := ours.FilterArgv(h.version().AtLeast)
	argv[0] = "argv=" + argv[0]
	return join(append(list, argv...))
}

// programPath is what the services start.
func (h *host) programPath() string {
	if h.command != nil && strings.HasPrefix(h.command.argv[0], "/") {
		return h.command.argv[0]
	}
	return h.Program
}

// configFlag is what -c in argv has to name; "" if nothing has to.
func (h *host) configFlag() string {
	if h.ConfigFile == config.DefaultFile {
		return ""
	}
	return h.ConfigFile
}

func judgeColumns(h *host) []fault {
	var faults []fault
	if h.inChroot(h.filter) {
		faults = append(faults, fault{What: h.filter.ID() + " runs in a chroot",
			Mend: h.setField(h.filter.ID()+"/chroot", "n")})
	}
	if h.filter.Unprivileged != "n" {
		faults = append(faults, fault{What: h.filter.ID() + " runs without privileges",
			Mend: h.setField(h.filter.ID()+"/unprivileged", "n")})
	}
	return faults
}

// flagHarm tells what one of pipe(8)'s flags does to a message that is to be signed.
func flagHarm(flag rune) string {
	switch flag {
	case 'B':
		return "adds a blank line to the message"
	case 'D':
		return "adds a Delivered-To: field"
	case 'F':
		return "adds a From_ line"
	case 'O':
		return "adds an X-Original-To: field"
	case 'R':
		return "adds a Return-Path: field"
	case 'X':
		return "marks the delivery as final"
	case 'h':
		return "folds the domain to lower case"
	case 'u':
		return "folds the local part to lower case, which destroys the hash of an SRS address"
	case '.':
		return "doubles dots at the start of lines"
	case '>':
		return "changes lines that start with From"
	}
	return "is not known"
}

func judgeFlags(h *host) []fault {
	flags, _ := h.command.attribute("flags")
	var faults []fault
	if !strings.Contains(flags, "q") {
		faults = append(faults, fault{What: fmt.Sprintf("flags=%s lacks q: addresses are passed on unquoted",
			flags), Mend: h.mendFilter()})
	}
	for _, flag := range flags {
		if flag != 'q' {
			faults = append(faults, fault{What: fmt.Sprintf("flags=%s: %c %s", flags, flag, flagHarm(flag)),
				Mend: h.mendFilter()})
		}
	}
	return faults
}

func judgeNullSender(h *host) []fault {
	value, found := h.command.attribute("null_sender")
	switch {
	case !found:
		return one("null_sender= is missing: the null sender is passed on as MAILER-DAEMON", h.mendFilter())
	case value != "":
		return one("null_sender="+value+" is not empty", h.mendFilter())
	}
	return nil
}

func judgeSender(h *host) []fault {
	if h.command.carries("-f", "sender") && slices.Contains(h.command.argv, "-f") ||
		h.command.carries("--sender", "sender") {
		return nil
	}
	return one("argv does not hold the two words -f ${sender}", h.mendFilter())
}

func judgeRecipients(h *host) []fault {
	argv := h.command.argv
	n := len(argv)
	if n < 2 || argv[n-2] != "--" || !isMacro(argv[n-1], "recipient") {
		return one("argv does not end in the two words -- ${recipient}", h.mendFilter())
	}
	return nil
}

func judgeMacros(h *host) []fault {
	var faults []fault
	for _, word := range h.command.argv {
		for _, name := range macros(word) {
			since, known := macroSince(name)
			switch {
			case !known:
				faults = append(faults, fault{What: "pipe(8) knows no macro ${" + name + "}",
					Mend: h.mendFilter()})
			case !h.version().AtLeast(since.Major, since.Minor):
				faults = append(faults, fault{What: fmt.Sprintf("${%s} came with Postfix %s, and this is %s",
					name, since, h.version()), Mend: h.mendFilter()})
			case name == "user" || name == "extension" || name == "mailbox" || name == "domain" ||
				name == "nexthop":
				faults = append(faults, fault{What: "${" + name +
					"} is only a part of the address, and may be in lower case",
					Mend: h.mendFilter(), Severity: Warning})
			}
		}
	}
	return faults
}

func judgeArguments(h *host) []fault {
	var faults []fault
	for _, m := range layout.Macros {
		if h.version().AtLeast(m.Major, m.Minor) && !h.command.carries(m.Flag, m.Name) {
			lack := withoutFlag(m.Flag)
			faults = append(faults, fault{What: fmt.Sprintf("argv lacks %s: %s", m, lack.why),
				Mend: h.mendFilter(), Severity: lack.severity})
		}
	}
	return faults
}

func judgeAttributes(h *host) []fault {
	var faults []fault
	for i := 1; i < len(h.command.misplaced); i += 2 {
		faults = append(faults, fault{What: "-o " + h.command.misplaced[i] +
			" comes after the attributes of pipe(8), which reads it as one of them", Mend: h.mendFilter()})
	}
	for _, name := range slices.Sorted(maps.Keys(h.command.attributes)) {
		values := h.command.attributes[name]
		switch name {
		case "flags", "user", "null_sender":
		case "directory", "eol", "chroot", "size":
			faults = append(faults, fault{What: fmt.Sprintf("postmend does not need %s=%s", name, values[0]),
				Mend: h.mendFilter(), Severity: Warning})
		default:
			faults = append(faults, fault{What: "pipe(8) knows no attribute " + name, Mend: h.mendFilter()})
		}
	}
	return faults
}

func judgeUser(h *host) []fault {
	if wrong := h.userFault(); wrong != "" {
		return one(wrong, h.mendFilter())
	}
	return nil
}

// userFault says what is wrong with user= of the filter; "" if nothing is.
func (h *host) userFault() string {
	value, _ := h.command.attribute("user")
	return h.faultOfUser(value, h.user, h.userErr)
}

// tableUserFault says what is wrong with user= of a table.
func (h *host) tableUserFault(t *table) string {
	value, _ := t.command.attribute("user")
	return h.faultOfUser(value, t.user, t.userErr)
}

func (h *host) faultOfUser(value string, u *access.User, err error) string {
	switch {
	case value == "":
		return "user= is missing"
	case err != nil:
		return "user=" + value + ": " + err.Error()
	case u.GIDs[0] == 0:
		return "user=" + value + " is in root's group"
	}
	if why := access.SharedBy(h.config, u.Name); why != "" {
		return "user=" + value + " is not an account of postmend's own: " + why
	}
	return ""
}

func judgeProgram(h *host) []fault {
	path := h.command.argv[0]
	install := shell("install", "-m", "0755", h.Program, path+".new") + " && " +
		shell("mv", path+".new", path)
	f := h.program
	switch {
	case !strings.HasPrefix(path, "/"):
		return one(fmt.Sprintf("argv starts %q, which is not an absolute path", path), h.mendFilter())
	case f.Err != nil:
		return one(path+" "+absent(f.Err), install)
	case !f.Mode.IsRegular():
		return one(path+" is not a regular file", "")
	case f.Size == 0:
		return one(path+" is empty: Postfix takes its exit status 0 for a delivery", install)
	}
	var faults []fault
	if f.Mode.Perm()&0o022 != 0 {
		faults = append(faults, fault{What: f.String() + " can be changed by other accounts than its owner",
			Mend: shell("chmod", "go-w", path)})
	}
	if f.UID != 0 {
		faults = append(faults, fault{What: f.String() + " does not belong to root", Mend: shell("chown",
			"root", path)})
	}
	for _, folder := range f.Folders {
		if folder.Mode&(0o002|fs.ModeSticky) == 0o002 {
			faults = append(faults, fault{What: f.Path + " can be replaced: every account may write to " +
				folder.String(), Mend: closeFolder(folder)})
		}
	}
	if h.user == nil {
		return faults
	}
	if barrier := f.Barrier(h.user, access.MayRead|access.MayExecute); barrier != nil {
		faults = append(faults, h.mayNotRun(barrier))
	}
	return faults
}

func (h *host) mayNotRun(barrier *access.File) fault {
	wrong := fault{What: h.user.Name + " may not run " + h.program.Path + ", because of " + barrier.String(),
		Mend: shell("chmod", "a+rx", barrier.Path)}
	if barrier.IsHome() {
		wrong.What += ", which is a home directory: install postmend in /usr/local/bin, and run postmend " +
			"setup from there"
		wrong.Mend = ""
	}
	return wrong
}
