package check

import (
	"os"
	"slices"
	"strings"

	"postmend/postfix/layout"
)

// stage tells whether mail may be led through postmend: as long as receivers do not find our records,
// forwarded mail fails SPF, and our signatures fail.
type stage int

const (
	unasked  stage = iota // DNS was not asked
	awaiting              // records are missing, wrong, or could not be asked for
	ready
)

// dnsStage judges by the findings about DNS.
func dnsStage(published []Finding) stage {
	if published == nil {
		return unasked
	}
	isMissing := func(f Finding) bool {
		isNeeded := f.Name == "dns-spf" || f.Name == "dns-mx" || f.Name == "dns-dkim"
		return f.Severity == Error || isNeeded && f.Severity == Warning
	}
	if slices.ContainsFunc(published, isMissing) {
		return awaiting
	}
	return ready
}

// switching completes a fault by a command that leads mail through postmend. There is none before the DNS
// records are known to be right.
func (f fault) switching(h *host, command string) fault {
	switch h.dns {
	case ready:
		f.Mend = command
	case awaiting:
		f.What += "; publish the records under DNS first, then check again"
	default:
		f.What += "; run check without --no-dns: it prints the command when the DNS records are right"
	}
	return f
}

// isPrepared tells whether Postfix does not know postmend yet: then our own files and DNS are judged, and no
// more of Postfix than they depend on.
func (h *host) isPrepared() bool {
	leadsHere := func(name string) bool { return transport(h.Main(name)) == layout.Transport }
	return h.filter == nil && len(h.tables) == 0 && !leadsHere("content_filter") &&
		!leadsHere("default_transport")
}

// areaNext is what comes next.
const areaNext = "next step"

// nextStep says what comes next where Postfix does not know postmend yet.
func (h *host) nextStep(findings []Finding) Finding {
	next := Finding{Area: areaNext, Name: "stage", Severity: Note,
		What: "Postfix does not pass mail to postmend yet",
		Why:  "mail passes Postfix as before, and forwarded mail leaves unmended"}
	isWrong := func(f Finding) bool { return f.Area != "DNS" && f.Severity == Error }
	isDoubtful := func(f Finding) bool { return f.Severity == Warning }
	switch {
	case slices.ContainsFunc(findings, isWrong):
		next.What += "; mend the errors above, then check again"
	case h.dns == unasked:
		next.What += "; check again without --no-dns: the DNS records have to be published before mail " +
			"passes postmend"
	case h.dns == awaiting:
		next.What += "; publish the records under DNS, and check again when the name servers have them"
	case slices.ContainsFunc(findings, isDoubtful):
		next.What += "; mend the warnings above first, or decide that they may stay; then set Postfix up"
		next.Mend = shell(h.setupCommand("--apply")...)
	default:
		next.What += "; all is ready for it"
		next.Mend = shell(h.setupCommand("--apply")...)
	}
	return next
}

// runningRules judge a Postfix that knows postmend.
var runningRules = []rule[*host]{
	{"postfix-down", Error, "", "no mail is delivered, and what only a running Postfix tells was not judged",
		judgeRunning},
}

// addReload completes findings whose commands change what a running Postfix has read. Setup reloads by
// itself.
func (h *host) addReload(findings []Finding) {
	if os.Geteuid() == 0 && !h.config.IsRunning() { // postfix(1) tells root only
		return
	}
	for i := range findings {
		if strings.Contains(findings[i].Mend, "postconf ") {
			findings[i].Reload = h.config.PostfixCommand("reload").String()
		}
	}
}

// judgeRunning finds a Postfix that does not run. One whose folder nobody but the caller names may be for
// trials.
func judgeRunning(h *host) []fault {
	if os.Geteuid() != 0 || h.config.IsRunning() { // postfix(1) tells root only
		return nil
	}
	wrong := fault{What: "Postfix is not running: mend the errors above, start it, then check again"}
	switch {
	case h.config.IsDefault() && isDir("/run/systemd/system"):
		wrong.Mend = shell("systemctl", "start", "postfix")
	case h.config.IsDefault() || h.config.IsInstance():
		wrong.Mend = h.config.PostfixCommand("start").String()
	default:
		wrong.Severity = Note
	}
	return []fault{wrong}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// setupWords are the words that tell setup what differs from its defaults.
func (h *host) setupWords() []string {
	var words []string
	if h.account.Name != layout.User {
		words = append(words, "--user", h.account.Name)
	}
	if file := h.configFlag(); file != "" {
		words = append(words, "-c", file)
	}
	return words
}
