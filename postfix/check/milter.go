package check

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"postmend/postfix/access"
	"postmend/postfix/layout"
	"postmend/postfix/postconf"
)

// milterRules judge the milter, if there is one.
var milterRules = []rule[*host]{
	{"milter-unused", Warning, "", "forgeries of your domains are accepted at SMTP time, and no mail gets " +
		"X-Postmend-Arrival", judgeMilterUnused},
	{"milter-twice", Warning, "", "each message is judged twice, and DNS is asked twice", judgeMilterTwice},
	{"milter-default", Error, "",
		"if the milter is down, mail is deferred or refused, or the session is closed", judgeMilterDefault},
	{"milter-down", Warning, "", "mail goes on without it: forgeries of your domains are accepted, and " +
		"what Sieve or procmail redirects leaves unmended in transport mode", judgeMilterReach},
	{"milter-time", Warning, "", "a message that takes longer goes on without the milter's verdict",
		judgeMilterTime},
	{"milter-order", Note, "", "a milter in front that changes the subject or the body breaks signatures " +
		"before they are verified", judgeMilterOrder},
	{"milter-local", Note, "", "mail of programs on this host is not judged by the milter, but each " +
		"message costs a conversation",
		judgeMilterLocal},
	{"milter-services", Note, "",
		"the filter judges such mail when it is forwarded; forgeries of your domains are not rejected at " +
			"SMTP time", judgeMilterServices},
}

// milterEntry is an entry of ours in smtpd_milters.
type milterEntry struct {
	address    string
	attributes map[string]string
	before     []string // the entries in front of it
}

// ourMilter finds our entry in a list of milters; nil if there is none. A resident one is known by its
// address.
func (h *host) ourMilter(value string) *milterEntry {
	entries := postconf.List(value)
	for n, entry := range entries {
		address, attributes := layout.MilterOf(entry)
		if address == layout.MilterAddress || h.runsMilter(address) {
			return &milterEntry{address, attributes, entries[:n]}
		}
	}
	return nil
}

// runsMilter tells whether an address is one where postmend is documented to serve, or a spawn(8) service of
// ours.
func (h *host) runsMilter(address string) bool {
	if slices.Contains(layout.ResidentMilters, address) {
		return true
	}
	for _, s := range h.servicesOf("spawn") {
		if strings.Contains(s.Line, "postmend") && strings.Contains(s.Line, " milter") &&
			(address == "unix:private/"+s.Name || address == "inet:"+s.Name) {
			return true
		}
	}
	return false
}

func (h *host) milter() *milterEntry { return h.ourMilter(h.Main("smtpd_milters")) }

// judgeMilterUnused finds the milter's service without its entry, which somebody has overwritten, and the
// entry without its service.
func judgeMilterUnused(h *host) []fault {
	asks := func(s *postconf.Service) bool { return h.ourMilter(h.value(s, "smtpd_milters")) != nil }
	m, hasService := h.milter(), h.runsMilter(layout.MilterAddress)
	wrong := fault{Mend: shell(h.setupCommand("--apply", "--milter")...)}
	switch {
	case m == nil && hasService && !slices.ContainsFunc(h.fronts(), asks):
		wrong.What = "smtpd_milters has no entry for the milter of master.cf, " + layout.MilterAddress
	case m != nil && m.address == layout.MilterAddress && !hasService:
		wrong.What = "master.cf has no service for the entry " + layout.MilterAddress + " of smtpd_milters"
	default:
		return nil
	}
	return []fault{wrong}
}

// judgeMilterTwice finds the milter that spawn(8) starts beside a resident one: the resident one stays.
func judgeMilterTwice(h *host) []fault {
	var ours []string
	for _, entry := range postconf.List(h.Main("smtpd_milters")) {
		if m := h.ourMilter(entry); m != nil {
			ours = append(ours, m.address)
		}
	}
	if len(ours) < 2 {
		return nil
	}
	isResident := func(address string) bool { return address != layout.MilterAddress }
	stays := ours[0]
	if at := slices.IndexFunc(ours, isResident); at > 0 {
		stays = ours[at]
	}
	return one("smtpd_milters has postmend's milter twice: "+strings.Join(ours, ", "),
		shell(h.setupCommand("--apply", "--milter="+stays)...))
}

func judgeMilterDefault(h *host) []fault {
	m := h.milter()
	if m == nil || m.attributes["default_action"] == "accept" ||
		m.attributes["default_action"] == "" && h.Main("milter_default_action") == "accept" {
		return nil
	}
	if m.attributes["default_action"] == "tempfail" && h.isTransport() {
		return nil // without the milter, nobody judges mail that is delivered here
	}
	return one(fmt.Sprintf("smtpd_milters: the entry %s has no default_action=accept: write %s", m.address,
		layout.MilterEntry(m.address)), "")
}

// milterUnit is in the Debian package.
const milterUnit = "/usr/lib/systemd/system/postmend.socket"

func judgeMilterReach(h *host) []fault {
	if h.milterErr == nil {
		return nil
	}
	address, mend := h.milter().address, ""
	if address == layout.UnitMilter && !access.LookAt(milterUnit).IsMissing() {
		// A socket cannot be added to a service that runs, nor to one that another socket may start.
		mend = "systemctl enable postmend.socket postmend.service && " +
			"systemctl stop postmend.service postmend.socket postmend-lmtp.socket && " +
			"systemctl start sockets.target postmend.service"
	}
	return one(fmt.Sprintf("smtpd_milters: nothing answers at %s: %v", address, h.milterErr), mend)
}

// askMilter finds out whether something answers where our milter should.
func (h *host) askMilter() {
	m := h.milter()
	if m == nil || !h.config.IsRunning() {
		return
	}
	network, address := "tcp", strings.TrimPrefix(m.address, "inet:")
	if path, isUnix := strings.CutPrefix(m.address, "unix:"); isUnix {
		network, address = "unix", path
		if !filepath.IsAbs(path) {
			address = filepath.Join(h.Main("queue_directory"), path)
		}
	}
	conn, err := net.DialTimeout(network, address, time.Second)
	if h.milterErr = err; err == nil {
		conn.Close()
	}
}

func judgeMilterTime(h *host) []fault {
	m := h.milter()
	if m == nil || h.Deadline == 0 {
		return nil
	}
	text := m.attributes["content_timeout"]
	if text == "" {
		text = h.Main("milter_content_timeout")
	}
	limit, err := time.ParseDuration(text)
	if err != nil || limit > h.Deadline {
		return nil
	}
	return one(fmt.Sprintf("smtpd_milters: content_timeout of %s is %s, but deadline in [limits] is %s: "+
		"it has to be longer", m.address, limit,
		h.Deadline), "")
}

func judgeMilterOrder(h *host) []fault {
	m := h.milter()
	if m == nil || len(m.before) == 0 {
		return nil
	}
	return one(fmt.Sprintf("smtpd_milters: %s is behind %s", m.address, strings.Join(m.before, ", ")), "")
}

func judgeMilterLocal(h *host) []fault {
	if h.ourMilter(h.Main("non_smtpd_milters")) == nil {
		return nil
	}
	return one("non_smtpd_milters names postmend's milter", "")
}

// judgeMilterServices finds services that take mail from others, and do not ask the milter.
func judgeMilterServices(h *host) []fault {
	if h.milter() == nil {
		return nil
	}
	var faults []fault
	for _, s := range h.fronts() {
		asks := h.ourMilter(h.value(s, "smtpd_milters")) != nil &&
			!slices.Contains(postconf.List(h.value(s, "receive_override_options")), "no_milters")
		if !asks && (h.isPublic(s) || s.Type == "pass") {
			faults = append(faults, fault{What: "mail that comes in through " + s.ID() +
				" does not pass the milter"})
		}
	}
	return faults
}
