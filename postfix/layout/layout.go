// Package layout says what postmend's services look like in master.cf and main.cf: names, options, words of
// argv, defaults. setup writes it, check judges by it, and its test holds docs/postfix.md to it. What it
// looks like on a host, in which mode and for which version of Postfix, is said by the caller.
package layout

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"postmend/reinject"
)

// Names in master.cf. A service's ID is its name and its type, as postconf(1) has it.
const (
	Transport   = "postmend" // the pipe(8) service, and so the name in content_filter and default_transport
	cleanup     = "postmend-cleanup"
	reverse     = "postmend-reverse"
	FilterID    = Transport + "/unix"
	CleanupID   = cleanup + "/unix"
	ReverseID   = reverse + "/unix"
	ListenerLog = "postfix/reinject" // the listener's syslog_name

	// User is the account that runs postmend, unless the operator chooses another.
	User = "postmend"
	// ContentFilter is the value in content-filter mode, DefaultTransport that in transport mode.
	ContentFilter    = Transport + ":dummy"
	DefaultTransport = Transport + ":"
	// ReverseMap is the table of main.cf that postmend lookup reverse answers.
	ReverseMap = "socketmap:unix:private/" + reverse + ":reverse"
)

// IsProgram tells whether a path is that of postmend, which may have a version or a platform behind its name.
func IsProgram(path string) bool {
	more, found := strings.CutPrefix(filepath.Base(path), "postmend")
	return found && (more == "" || strings.ContainsRune("-._", rune(more[0])))
}

// ListenerPort is the port of the listener where a configuration names no target.
func ListenerPort() string {
	target, _ := reinject.ParseTarget(reinject.DefaultTarget)
	return strconv.Itoa(int(target.Port))
}

// Parameter is a parameter of main.cf, or an option of a service.
type Parameter struct{ Name, Value string }

func (p Parameter) String() string { return p.Name + "=" + p.Value }

// Recipients is how many recipients of a message have one run, and so one status. As a content filter, each
// has a run of its own: one may be a mailbox here and another one leave, and their outcomes can differ. What
// leaves by default_transport has one domain, and one outcome.
func Recipients(isTransport bool) Parameter {
	limit := Parameter{Transport + "_destination_recipient_limit", "1"}
	if isTransport {
		limit.Value = MostRecipients
	}
	return limit
}

// MostRecipients of one domain have one run.
const MostRecipients = "50"

// TimeLimit of a run: mail that reaches it bounces, so that it lies far above postmend's own deadline.
var TimeLimit = Parameter{Transport + "_time_limit", "300s"}

// Processes is how many messages are filtered at once. One may wait for DNS for as long as dns_deadline says,
// and takes little memory meanwhile (1 to 3 MB); local mail waits behind them only if all of them do.
const Processes = 100

// StatusFilter turns what Postfix makes of crashes, time-outs and configuration errors (5.3.x, 5.5.x) into
// deferrals. The pattern is for a file, which Postfix before 3.7 needs; within a parameter every dollar is
// doubled.
const (
	StatusPattern    = `/^5(\.[35]\.[0-9]+ .*)/ 4$1`
	StatusFile       = "postmend-status.regexp"
	StatusFilterName = "pipe_delivery_status_filter"
)

// StatusFilter is the table within the parameter.
func StatusFilter() string { return "regexp:{{" + strings.ReplaceAll(StatusPattern, "$", "$$") + "}}" }

// Macro is a flag of `postmend filter` that carries a macro of pipe(8).
type Macro struct {
	Flag, Name   string
	Major, Minor int // the version of Postfix that brought it; 0 for those that every supported one has
}

// String is the word of argv.
func (m Macro) String() string { return m.Flag + "=${" + m.Name + "}" }

// Macros are what postmend filter wants to be told, in the order in which it is written.
var Macros = []Macro{
	{Flag: "--queue-id", Name: "queue_id"},
	{Flag: "--client-address", Name: "client_address"},
	{Flag: "--client-name", Name: "client_hostname"},
	{Flag: "--client-port", Name: "client_port"},
	{Flag: "--client-protocol", Name: "client_protocol"},
	{Flag: "--helo", Name: "client_helo"},
	{Flag: "--sasl-username", Name: "sasl_username"},
	{Flag: "--size", Name: "size"},
	{Flag: "--original-recipient", Name: "original_recipient"},
	{Flag: "--envid", Name: "envid", Major: 3, Minor: 9},
}

// Program is how postmend is started. ConfigFile "" is the default one.
type Program struct{ Path, ConfigFile, User string }

func (p Program) command(words ...string) []string {
	argv := append([]string{p.Path}, words...)
	if p.ConfigFile != "" {
		argv = append(argv, "-c", p.ConfigFile)
	}
	return argv
}

// FilterArgv is the command of the pipe(8) service. AtLeast tells whether Postfix has a version.
func (p Program) FilterArgv(atLeast func(major, minor int) bool) []string {
	argv := append(p.command("filter"), "-f", "${sender}")
	for _, m := range Macros {
		if atLeast(m.Major, m.Minor) {
			argv = append(argv, m.String())
		}
	}
	return append(argv, "--", "${recipient}")
}

// FilterAttributes are the attributes of pipe(8) before argv.
func (p Program) FilterAttributes() []string {
	return []string{"flags=q", "user=" + p.User, "null_sender="}
}

// FilterLine is the entry of the pipe(8) service, with the table that takes crashes for deferrals.
func (p Program) FilterLine(statusFilter string, atLeast func(major, minor int) bool) string {
	option := optionWord(StatusFilterName, statusFilter)
	return fmt.Sprintf("%s unix - n n - %d pipe -o %s %s argv=%s", Transport, Processes, option,
		strings.Join(p.FilterAttributes(), " "), strings.Join(p.FilterArgv(atLeast), " "))
}

// LookupArgv is the command of a table: direction "reverse" or "forward", protocol "socketmap" or "tcp".
func (p Program) LookupArgv(direction, protocol string) []string {
	return append(p.command("lookup", direction), "--protocol", protocol)
}

// ReverseLine is the entry of the spawn(8) service that answers ReverseMap.
func (p Program) ReverseLine() string {
	return fmt.Sprintf("%s unix - n n - 0 spawn user=%s argv=%s", reverse, p.User,
		strings.Join(p.LookupArgv("reverse", "socketmap"), " "))
}

// CleanupLine is the entry of the listener's own cleanup(8). What postmend adds makes a message larger, and
// message_size_limit is one for the queue file: what was accepted once is not refused for our fields.
const CleanupLine = cleanup + " unix n - n - 0 cleanup -o message_size_limit=0"

// ListenerOptions make the listener take back what postmend has mended, as it is: no second filter, no
// milter, no address mapping, no header completed after signing.
var ListenerOptions = []Parameter{
	{"syslog_name", ListenerLog},
	{"content_filter", ""},
	{"receive_override_options",
		"no_unknown_recipient_checks,no_header_body_checks,no_milters,no_address_mappings"},
	{"smtpd_milters", ""},
	{"smtpd_helo_restrictions", ""},
	{"smtpd_client_restrictions", ""},
	{"smtpd_sender_restrictions", ""},
	{"smtpd_relay_restrictions", ""},
	{"smtpd_data_restrictions", ""},
	{"smtpd_end_of_data_restrictions", ""},
	{"smtpd_recipient_restrictions", "permit_mynetworks,reject"},
	{"mynetworks", "127.0.0.0/8"},
	{"smtpd_authorized_xforward_hosts", "127.0.0.0/8"},
	{"local_header_rewrite_clients", ""},
	{"smtpd_tls_security_level", "none"},
	{"smtpd_sasl_auth_enable", "no"},
	{"message_size_limit", "0"},
	{"cleanup_service_name", cleanup},
}

// ListenerOption is the value of an option of the listener, if it has that option.
func ListenerOption(name string) (value string, found bool) {
	for _, o := range ListenerOptions {
		if o.Name == name {
			return o.Value, true
		}
	}
	return "", false
}

// ListenerLine is the entry of the listener at an address. Next is its content_filter: "" in content-filter
// mode, the way out in transport mode.
func ListenerLine(address, next string) string {
	words := []string{address, "inet", "n", "-", "n", "-", "-", "smtpd"}
	for _, o := range ListenerOptions {
		if o.Name == "content_filter" {
			o.Value = next
		}
		words = append(words, "-o", o.String())
	}
	return strings.Join(words, " ")
}
