package check

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"postmend/filter/config"
	"postmend/postfix/layout"
	"postmend/postfix/setup"
)

// lmtpRules judge the lmtp(8) service that leads to postmend.
var lmtpRules = []rule[*host]{
	{"lmtp-reach", Error, "postmend takes mail by LMTP", "all mail that would pass it is deferred",
		judgeLMTPReach},
	{"lmtp-config", Error, "", "these findings are not about the configuration that mail meets",
		judgeLMTPConfig},
	{"lmtp-options", Error, "lmtp(8) tells the client, and changes no message", "", judgeLMTPOptions},
	{"lmtp-status-filter", Warning, "mail that was queued for pipe(8) does not bounce",
		"it names the host dummy, which does not exist: lmtp(8) bounces such mail", judgeLMTPStatus},
	{"lmtp-next-hop", Error, "",
		"lmtp(8) takes what follows the colon for the host to connect to: such mail is " +
			"deferred", judgeLMTPNextHops},
	{"lmtp-recipient-limit", Warning, "the recipients of a message share a run",
		"each recipient costs a run and a signature of its own, and a run for too many reaches the deadline",
		judgeLMTPRecipients},
	{"lmtp-processes", Warning, "enough messages are filtered at once",
		"a message may wait for DNS for up to dns_deadline; while all processes wait, other mail waits, too",
		judgeProcesses},
}

// byLMTP tells whether Postfix hands messages to postmend by LMTP.
func (h *host) byLMTP() bool { return h.filter != nil && h.filter.Program == "lmtp" }

// findLMTP takes the lmtp(8) service of our name, which stands where pipe(8) would.
func (h *host) findLMTP() {
	for _, s := range h.servicesOf("lmtp") {
		if s.ID() == layout.FilterID {
			h.filter, h.command = s, nil
			h.lmtpAddress, h.lmtpErr = setup.LMTPAddress(h.expanded)
		}
	}
}

// askLMTP finds out whether postmend takes mail, and what leads mail elsewhere.
func (h *host) askLMTP(ctx context.Context) {
	if h.lmtpAddress == "" {
		return
	}
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	h.otherHops = setup.OtherNextHops(ctx, h.expanded, layout.LMTPNextHop(h.lmtpAddress))
	if h.lmtpAddress == layout.SpawnedLMTP && !h.config.IsRunning() {
		return // nothing starts it
	}
	h.lmtpErr = setup.AskLMTP(ctx, h.config, h.lmtpAddress)
}

func judgeLMTPReach(h *host) []fault {
	switch {
	case h.lmtpErr == nil:
		return nil
	case h.lmtpAddress == "":
		return one(h.lmtpErr.Error(), "")
	case h.lmtpAddress == layout.SpawnedLMTP:
		wrong := fault{What: fmt.Sprintf("the postmend that spawn(8) starts at %s takes no mail: %v; see "+
			"the mail log", h.lmtpAddress, h.lmtpErr)}
		if _, found := h.config.Service(layout.SpawnedLMTPID); !found {
			wrong = fault{What: "master.cf has no service " + layout.SpawnedLMTPID + " for " + h.lmtpAddress,
				Mend: h.planned(layout.SpawnedLMTPID)}
		}
		return []fault{wrong}
	}
	return one(fmt.Sprintf("postmend serve does not take mail at %s: %v; see its unit in docs/postfix.md",
		h.lmtpAddress, h.lmtpErr), "")
}

// judgeLMTPConfig judges the process that spawn(8) starts; of a resident one, nothing tells.
func judgeLMTPConfig(h *host) []fault {
	if h.lmtpAddress != layout.SpawnedLMTP {
		return nil
	}
	for _, s := range h.servicesOf("spawn") {
		named := cmp.Or(parsePipe(*s).configFile(), config.DefaultFile)
		if s.ID() == layout.SpawnedLMTPID && named != h.ConfigFile {
			return one(fmt.Sprintf("%s reads %s, but %s was checked", s.ID(), named, h.ConfigFile), "")
		}
	}
	return nil
}

// withoutLMTPOption tells what happens without one of layout.LMTPOptions.
func withoutLMTPOption(name string) string {
	switch name {
	case "lmtp_send_xforward_command":
		return "postmend is not told the client, and defers all mail"
	case "lmtp_line_length_limit":
		return "folded lines break the sender's signature"
	}
	return "8-bit mail is converted, which breaks the sender's signature"
}

func judgeLMTPOptions(h *host) []fault {
	var faults []fault
	for _, o := range layout.LMTPOptions {
		if value := h.value(h.filter, o.Name); value != o.Value {
			faults = append(faults, fault{
				What: fmt.Sprintf("%s is %s for %s, and has to be %s", o.Name, value, h.filter.ID(), o.Value),
				Why:  withoutLMTPOption(o.Name), Mend: h.setOption(h.filter, o.Name, o.Value)})
		}
	}
	return faults
}

// judgeLMTPStatus looks for the documented table only: another one may be the operator's own.
func judgeLMTPStatus(h *host) []fault {
	if h.value(h.filter, layout.LMTPStatusFilterName) != "" || h.value(h.filter, "soft_bounce") == "yes" {
		return nil
	}
	wrong := fault{What: layout.LMTPStatusFilterName + " is not set for " + h.filter.ID(),
		Mend: h.planned(layout.FilterID)}
	return []fault{wrong}
}

func judgeLMTPNextHops(h *host) []fault {
	var faults []fault
	for _, other := range h.otherHops {
		wanted := layout.LMTPNextHop(h.lmtpAddress)
		wrong := fault{What: fmt.Sprintf("%s, and has to have %s", other, wanted)}
		switch {
		case other.Service != "":
			wrong.Mend = h.config.SetOptionCommand(other.Service, other.Name, wanted).String()
		case other.Table == "":
			wrong.What = fmt.Sprintf("%s, and has to be %s", other, wanted)
			wrong.Mend = h.set(other.Name, wanted)
		}
		faults = append(faults, wrong)
	}
	return faults
}

func judgeLMTPRecipients(h *host) []fault {
	limit := layout.LMTPRecipients
	most, _ := strconv.Atoi(limit.Value)
	value := strings.TrimSpace(h.Main(limit.Name))
	if n, err := strconv.Atoi(value); err != nil || n < 2 || n > most {
		return one(limit.Name+" is "+value, h.set(limit.Name, limit.Value))
	}
	return nil
}
