package layout

import (
	"fmt"
	"strings"
)

// LMTPOptions are what lmtp(8) leaves off by default: it tells the client, and changes no message. Its
// service leads to `postmend serve`, and has the name of the pipe(8) service, whose place it takes.
var LMTPOptions = []Parameter{
	{"lmtp_send_xforward_command", "yes"},
	{"lmtp_line_length_limit", "0"},
	{"disable_mime_output_conversion", "yes"},
}

// Mail that was queued for pipe(8) still names its next hop, dummy, which lmtp(8) takes for a host that does
// not exist (5.4.4). The status filter defers that mail until it is requeued. postmend itself does not reply
// 5.4.4.
const (
	LMTPStatusPattern    = `/^5(\.4\.4 .*)/ 4$1`
	LMTPStatusFile       = "postmend-lmtp-status.regexp"
	LMTPStatusFilterName = "lmtp_delivery_status_filter"
)

// LMTPStatusFilter is the table within the parameter.
func LMTPStatusFilter() string {
	return "regexp:{{" + strings.ReplaceAll(LMTPStatusPattern, "$", "$$") + "}}"
}

// LMTPLine is the entry of the lmtp(8) service.
func LMTPLine(statusFilter string) string {
	words := []string{Transport, "unix", "-", "-", "n", "-", fmt.Sprint(Processes), "lmtp"}
	for _, o := range LMTPOptions {
		words = append(words, "-o", o.String())
	}
	return strings.Join(append(words, "-o", optionWord(LMTPStatusFilterName, statusFilter)), " ")
}

// optionWord is name=value as postconf(1) prints it, so that a second run finds no difference.
func optionWord(name, value string) string {
	if strings.Contains(value, " ") {
		return "{" + name + "=" + value + "}"
	}
	return name + "=" + value
}

// LMTPNextHop is the value of content_filter or default_transport that leads to an address.
func LMTPNextHop(address string) string { return DefaultTransport + address }

// SpawnedLMTP is where spawn(8) starts `postmend lmtp` for each connection, where no postmend serve runs. It
// lies below Postfix's queue directory, where no other account comes in.
const (
	spawned       = "postmend-lmtp"
	SpawnedLMTPID = spawned + "/unix"
	SpawnedLMTP   = "unix:private/" + spawned
)

// SpawnedTimeLimit is more than spawn(8) allows by default: lmtp(8) uses a connection for 300 seconds
// (lmtp_connection_reuse_time_limit), and then its last message takes its time.
var SpawnedTimeLimit = Parameter{spawned + "_time_limit", "3600s"}

// SpawnedLMTPLine is the entry of the spawn(8) service.
func (p Program) SpawnedLMTPLine() string {
	return fmt.Sprintf("%s unix - n n - 0 spawn user=%s argv=%s", spawned, p.User,
		strings.Join(p.command("lmtp"), " "))
}

// The sockets of the Debian package's units: where postmend serve takes mail, and its milter, as smtpd(8)
// finds it, chrooted or not.
const (
	UnitLMTP   = "unix:/var/spool/postfix/postmend/lmtp"
	UnitMilter = "unix:postmend/milter"
)

// LMTPRecipients is how many recipients of a message share a run: each gets a reply of its own.
var LMTPRecipients = Parameter{Transport + "_destination_recipient_limit", MostRecipients}
