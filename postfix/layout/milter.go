package layout

import (
	"fmt"
	"strings"
)

// The milter: a spawn(8) service below Postfix's queue directory, where a chrooted smtpd(8) finds it and no
// other account does. Who can connect to it can have any message judged as if it came from any client.
const (
	milter        = "postmend-milter"
	MilterID      = milter + "/unix"
	MilterAddress = "unix:private/" + milter
)

// ResidentMilters are the addresses in smtpd_milters where postmend serve is documented to answer.
var ResidentMilters = []string{"unix:postmend/milter", "unix:/var/spool/postfix/postmend/milter",
	"inet:127.0.0.1:10028", "inet:localhost:10028"}

// MilterTimeLimit is more than any SMTP session lasts: a client that could outwait the milter could send mail
// past it.
var MilterTimeLimit = Parameter{milter + "_time_limit", "100d"}

// MilterLine is the entry of the spawn(8) service.
func (p Program) MilterLine() string {
	return fmt.Sprintf("%s unix - n n - 0 spawn user=%s argv=%s", milter, p.User,
		strings.Join(p.command("milter"), " "))
}

// MilterEntry is the entry in smtpd_milters for an address: mail goes on without the milter if that is down
// or slow. content_timeout is above what a judgement may take (deadline, 60 s).
func MilterEntry(address string) string {
	return "{ " + address +
		", connect_timeout=5s, command_timeout=10s, content_timeout=90s, default_action=accept }"
}

// MilterOf gives the address of an entry, and its attributes.
func MilterOf(entry string) (address string, attributes map[string]string) {
	attributes = map[string]string{}
	inner := strings.TrimSuffix(strings.TrimPrefix(entry, "{"), "}")
	isSeparator := func(r rune) bool { return strings.ContainsRune(", \t\n", r) }
	for n, word := range strings.FieldsFunc(inner, isSeparator) {
		if name, value, ok := strings.Cut(word, "="); ok && n > 0 {
			attributes[name] = value
		} else if n == 0 {
			address = word
		}
	}
	return address, attributes
}
