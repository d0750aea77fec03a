package check

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"postmend/postfix"
	"postmend/postfix/layout"
	"postmend/postfix/postconf"
	"postmend/postfix/setup"
)

// instanceRules judge whether the instances of Postfix on this host keep out of each other's way.
var instanceRules = []rule[*host]{
	{"instances", Error, "", "mail that one instance hands to postmend comes back to the other",
		judgeInstances},
}

// routeRules judge how mail gets to the filter and from it to the next hop.
var routeRules = []rule[*host]{
	{"filter-service", Error, "a service in master.cf leads to postmend", "Postfix cannot start postmend",
		judgeFilterService},
	{"route", Error, "mail passes postmend", "forwarded mail leaves unmended", judgeRoute},
	{"route-services", Note, "", "forwarded mail that comes in there leaves unmended, which may be intended",
		judgeUnfiltered},
	{"route-actions", Note, "", "forwarded mail to which it applies leaves unmended, which may be intended",
		judgeActions},
	{"route-senders", Note, "", "postmend gives such mail an SRS sender, for which the table has no entry: " +
		"it leaves by the default transport or relayhost", judgeSenderMaps},
	{"route-mappings", Error, "virtual aliases are expanded before the filter", "postmend sees the alias, " +
		"which is local, and not the address that it leads to: forwarded mail leaves unmended",
		judgeMappings},
	{"listener", Error, "the target of [reinject] is a listener of this Postfix",
		"all mail is deferred because it cannot be handed back", judgeListener},
	{"sendmail-loop", Error, "", "mail loops until hopcount_limit, and then bounces", judgeSendmail},
	{"sendmail-directory", Error, "", "sendmail(1) refuses a configuration directory that Postfix's own " +
		"main.cf does not name: all mail is deferred", judgeAlternates},
	{"line-length", Error, "lines of up to 998 octets leave as they are",
		"folding a line breaks postmend's signature and the author's", judgeLineLength},
	{"8bit", Error, "8-bit mail leaves unchanged if the next hop takes it",
		"Postfix converts it to quoted-printable after signing, which breaks every signature", judge8bit},
	{"after-signing", Warning, "nothing rewrites mail on its way out",
		"a change after signing breaks the signature", judgeOutgoing},
	{"milter-before", Note, "no DKIM milter handles mail before postmend",
		"if it signs, postmend may change what it signed; postmend signs by itself", judgeMilters},
	{"smtputf8", Warning, "", "mail to and from international addresses is refused", judgeSMTPUTF8},
}

// aliasRules judge what a content filter does not see.
var aliasRules = []rule[*host]{
	{"alias-forwards", Warning, "", "mail that local(8) forwards does not pass a content filter: it " +
		"leaves unmended, and fails SPF and often DMARC at the next hop", judgeAliases},
}

func judgeVersion(h *host) []fault {
	if !h.version().AtLeast(3, 0) {
		return one("this is Postfix "+h.version().String(), "")
	}
	if !h.version().AtLeast(3, 4) {
		return []fault{{What: "this is Postfix " + h.version().String(), Severity: Warning}}
	}
	return nil
}

func judgeFilterService(h *host) []fault {
	if h.filter != nil {
		return nil
	}
	return one("no pipe(8) service in master.cf runs postmend filter",
		h.account.First(h.planned(layout.FilterID)))
}

func judgeRoute(h *host) []fault {
	name, other := h.filterName(), h.Main("content_filter")
	switch {
	case h.isContentFilter() && h.isTransport():
		const what = "content_filter and default_transport both lead to postmend: mail passes it twice"
		if h.wasTransport() && transport(other) == name {
			return one(what, h.unset("content_filter"))
		}
		return one(what, h.unset("default_transport"))
	case h.isContentFilter(), h.isTransport(), other != "" && !h.hasTransport(other):
		return nil // the last of these has a rule of its own
	case other != "":
		return []fault{h.besideFilter(other)}
	}
	wrong := fault{What: "neither content_filter nor default_transport leads to postmend"}
	if h.byLMTP() {
		wrong.What += ": run postmend setup --apply --lmtp with the address of postmend serve"
		return []fault{wrong}
	}
	if h.wasTransport() {
		return []fault{wrong.switching(h, h.set("default_transport", name+":"))}
	}
	return []fault{wrong.switching(h, h.set("content_filter", name+":dummy"))}
}

// wasTransport tells whether postmend was set up as the transport of what leaves: the listener then names the
// next hop, because default_transport would lead back to postmend.
func (h *host) wasTransport() bool {
	if h.listener == nil {
		return h.mode == setup.Transport
	}
	return h.value(h.listener, "content_filter") != ""
}

// besideFilter is the fault that there is another filter. As setup has it, postmend never replaces that, but
// may come after it.
func (h *host) besideFilter(other string) fault {
	wrong := fault{What: "content_filter = " + other +
		" leads to another filter, and a message has only one content filter"}
	wanted := h.wanted
	wanted.Mode = setup.Transport
	if _, err := setup.NewPlan(h.config, h.domains, wanted); err != nil {
		wrong.What += "; postmend can come after it, by setup --mode transport, but not yet: " + err.Error()
		return wrong
	}
	words := []string{h.Program, "setup", "--apply", "--mode", string(setup.Transport), "--user",
		h.filterUser()}
	if !h.config.IsDefault() {
		words = append(words, "--postfix-dir", h.config.Dir)
	}
	if file := h.configFlag(); file != "" {
		words = append(words, "-c", file)
	}
	wrong.What += "; postmend can come after it"
	return wrong.switching(h, shell(words...))
}

func judgeUnfiltered(h *host) []fault {
	if !h.isContentFilter() {
		return nil
	}
	var faults []fault
	for _, s := range append(h.fronts(), h.servicesOf("pickup")...) {
		if h.isFiltered(s) {
			continue
		}
		if value := h.value(s, "content_filter"); value != "" && !h.hasTransport(value) {
			continue // a rule of its own
		}
		wrong := fault{What: "mail that comes in through " + s.ID() + " does not pass postmend"}
		if other, found := s.Options["content_filter"]; found && other == "" && !takesBack(s) {
			wrong = wrong.switching(h, h.config.UnsetOptionCommand(s.ID(), "content_filter").String())
		} else if found && other != "" {
			wrong.What += ", but " + other // which is not ours to replace
		}
		if s.Program == "smtpd" && (s.Name == "smtp" || s.Name == "25" || s.Type == "pass") {
			wrong.Severity = Error
		}
		faults = append(faults, wrong)
	}
	return faults
}

// judgeActions finds FILTER actions, which take the place of content_filter, that lead past postmend.
func judgeActions(h *host) []fault {
	if !h.isContentFilter() {
		return nil
	}
	var faults []fault
	for _, action := range h.actions {
		if transport(action.Value) != h.filterName() {
			faults = append(faults, fault{What: action.String() + ", and such mail does not pass postmend"})
		}
	}
	return faults
}

// judgeSenderMaps finds senders that Postfix looks up behind the filter, and that the filter rewrites: those
// that are not local, of users who log in.
func judgeSenderMaps(h *host) []fault {
	if !h.isContentFilter() || h.SRSDomain == "" || h.IsLocal == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var faults []fault
	for _, name := range []string{"sender_dependent_default_transport_maps",
		"sender_dependent_relayhost_maps"} {
		var foreign []string
		for _, table := range postconf.List(h.Main(name)) {
			entries, _ := h.config.Entries(ctx, strings.TrimPrefix(table, "proxy:"))
			for key := range entries {
				_, domain, _ := strings.Cut(key, "@")
				if domain != "" && h.domains.ClassAbove(domain) == "" && !h.IsLocal(domain) &&
					!slices.Contains(foreign, domain) {
					foreign = append(foreign, domain)
				}
			}
		}
		if slices.Sort(foreign); foreign != nil {
			faults = append(faults, fault{What: name + " has senders in domains that are not local: " +
				postfix.ShortList(foreign, mostNamed)})
		}
	}
	return faults
}

func judgeMappings(h *host) []fault {
	var faults []fault
	for _, s := range append(h.fronts(), h.servicesOf("pickup")...) {
		options := postconf.List(h.value(s, "receive_override_options"))
		if !h.isFiltered(s) || !slices.Contains(options, "no_address_mappings") {
			continue
		}
		rest := slices.DeleteFunc(options,
			func(option string) bool { return option == "no_address_mappings" })
		faults = append(faults, fault{What: "on " + s.ID() +
			", receive_override_options holds no_address_mappings",
			Mend: h.setWhere(s, "receive_override_options", strings.Join(rest, ","))})
	}
	return once(faults)
}

func judgeListener(h *host) []fault {
	_, address, here := listenerAddress(h.Target)
	switch spare := h.spareListener(); {
	case h.Target == "":
		return nil // the configuration is the fault
	case !here:
		return []fault{{What: "mail is handed to " + h.Target +
			", which is not a listener of this Postfix, and is not judged", Severity: Note}}
	case h.listener != nil:
		return nil
	case h.public != nil:
		return []fault{fault{What: "the target of [reinject], " + h.Target + ", is " + h.public.ID() +
			", which takes mail from others",
			Why: "mail would loop, or be rejected as mail from outside; the listener has to be a service " +
				"of its own"}.moved(h)}
	case spare != nil:
		return []fault{fault{What: "no smtpd(8) service in master.cf listens at " + address +
			", the target of [reinject]; the listener is " + spare.ID()}.moved(h)}
	}
	return one("no smtpd(8) service in master.cf listens at "+address+", the target of [reinject]",
		h.addListener())
}

// moved completes a fault by the edit that makes the existing listener, or a new one, the target.
func (f fault) moved(h *host) fault {
	if spare := h.spareListener(); spare != nil {
		f.Edit = h.setKey("reinject.target", targetAt(spare))
	} else if f.Mend = h.planned(layout.CleanupID, h.wanted.Listener+"/inet"); f.Mend != "" {
		f.Edit = h.setKey("reinject.target", "smtp://"+h.wanted.Listener)
	}
	return f
}

// judgeInstances finds another instance with a listener at the same port: mail of one instance would come
// back to the other.
func judgeInstances(h *host) []fault {
	kind, address, here := listenerAddress(h.Target)
	if !here || kind != "inet" || h.public != nil {
		return nil
	}
	_, port := cutHost(address)
	var faults []fault
	for _, other := range h.instances {
		if s, found := other.AtPort(port); found {
			what := fmt.Sprintf("%s, the target of [reinject], is %s of the Postfix in %s, too: each "+
				"instance needs a configuration (-c FILE) and a listener of its own; ",
				address, s.ID(), other.Dir)
			if h.config.IsDefault() {
				what += "postmend check --postfix-dir " + other.Dir + " tells how"
			} else {
				what += "nothing else of this instance is judged before that"
			}
			wrong := fault{What: what}
			if mend := h.separate(); mend != "" {
				wrong = wrong.switching(h, mend)
			}
			faults = append(faults, wrong)
		}
	}
	return faults
}

// separate is the command that gives this instance a configuration of its own; "" for Postfix's own instance,
// which came first.
func (h *host) separate() string {
	if h.config.IsDefault() {
		return ""
	}
	file := filepath.Join(filepath.Dir(h.ConfigFile), filepath.Base(h.config.Dir)+".toml")
	apply := shell(h.Program, "setup", "--apply", "--postfix-dir", h.config.Dir, "--user", h.filterUser(),
		"-c", file)
	if h.listener == nil || file == h.ConfigFile {
		return apply
	}
	return h.config.UnsetServiceCommand(h.listener.ID()).String() + " && " + apply
}

func judgeSendmail(h *host) []fault {
	if !strings.HasPrefix(h.Target, "sendmail:") {
		return nil
	}
	for _, s := range h.servicesOf("pickup") {
		if h.isFiltered(s) {
			return one("mail handed to sendmail(1) comes in through "+s.ID()+", which filters it again",
				h.setOption(s, "content_filter", ""))
		}
		if h.isTransport() && h.value(s, "content_filter") == "" {
			return one("mail handed to sendmail(1) leaves through default_transport, which is postmend",
				h.setOption(s, "content_filter", "smtp:"))
		}
	}
	return nil
}

func judgeAlternates(h *host) []fault {
	if !strings.HasPrefix(h.Target, "sendmail:") || h.system == nil {
		return nil
	}
	alternates, instances := postconf.List(h.system.alternates), postconf.List(h.system.instances)
	if slices.Contains(alternates, h.config.Dir) || slices.Contains(instances, h.config.Dir) {
		return nil
	}
	value := strings.Join(append(alternates, h.config.Dir), " ")
	return one("alternate_config_directories of "+h.system.dir+"/main.cf does not name "+h.config.Dir,
		shell("postconf", "-c", h.system.dir, "-e", "alternate_config_directories="+value))
}
