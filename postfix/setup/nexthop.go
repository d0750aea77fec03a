package setup

import (
	"context"
	"maps"
	"os"
	"slices"
	"strings"

	"postmend/postfix/layout"
	"postmend/postfix/postconf"
)

// NextHop is a place that leads mail to postmend's transport.
type NextHop struct {
	// Service is the one of master.cf whose option it is; "" is main.cf.
	Service string
	Name    string // of the parameter or option
	// Table and Key are set if it is an entry of a table that the parameter names. The key of a table of
	// patterns is the pattern.
	Table, Key string
	Value      string
}

// String says where it is.
func (n NextHop) String() string {
	switch {
	case n.Service != "":
		return n.Service + " in master.cf has " + n.Name + "=" + n.Value
	case n.Table != "":
		action := ""
		if slices.Contains(filtering, n.Name) {
			action = "FILTER "
		}
		return n.Table + " (" + n.Name + ") has " + action + n.Value + " for " + n.Key
	}
	return n.Name + " is " + n.Value
}

// OtherNextHops finds what leads mail to postmend's transport with another next hop than wanted, beside
// content_filter and default_transport of main.cf: pipe(8) ignores the next hop, but lmtp(8) connects to it,
// and to the recipient's domain if it is empty. Tables that cannot be listed are left out.
func OtherNextHops(ctx context.Context, c *postconf.Config, wanted string) (others []NextHop) {
	add := func(n NextHop) {
		if strings.HasPrefix(n.Value, layout.DefaultTransport) && n.Value != wanted {
			others = append(others, n)
		}
	}
	for _, s := range c.Services() {
		if value, found := s.Options["content_filter"]; found && !isOurListener(s) {
			add(NextHop{Service: s.ID(), Name: "content_filter", Value: value})
		}
	}
	for _, name := range []string{"relay_transport", "local_transport", "virtual_transport",
		"mailbox_transport", "fallback_transport"} {
		add(NextHop{Name: name, Value: c.Get(name)})
	}
	for _, name := range []string{"transport_maps", "sender_dependent_default_transport_maps",
		"mailbox_transport_maps", "fallback_transport_maps"} {
		for _, table := range postconf.List(c.Get(name)) {
			entries := entriesOf(ctx, c, strings.TrimPrefix(table, "proxy:"))
			for _, key := range slices.Sorted(maps.Keys(entries)) {
				add(NextHop{Name: name, Table: table, Key: key, Value: entries[key]})
			}
		}
	}
	for _, action := range FilterActions(ctx, c) {
		add(action)
	}
	return others
}

// FilterActions are the FILTER actions of access(5) and header_checks(5) tables, whose values take the
// place of content_filter. Tables that cannot be listed are left out.
func FilterActions(ctx context.Context, c *postconf.Config) (actions []NextHop) {
	seen := map[string]bool{}
	find := func(n NextHop, value string) {
		for _, table := range postconf.List(value) {
			if !strings.Contains(table, ":") || seen[table] {
				continue
			}
			seen[table] = true
			entries := entriesOf(ctx, c, strings.TrimPrefix(table, "proxy:"))
			for _, key := range slices.Sorted(maps.Keys(entries)) {
				words := strings.Fields(entries[key])
				if len(words) == 2 && strings.EqualFold(words[0], "FILTER") {
					n.Table, n.Key, n.Value = table, key, words[1]
					actions = append(actions, n)
				}
			}
		}
	}
	for _, name := range filtering {
		value, _ := c.Expand(name)
		find(NextHop{Name: name}, value)
	}
	for _, s := range c.Services() {
		for _, name := range filtering {
			find(NextHop{Name: name}, s.Options[name])
		}
	}
	return actions
}

// filtering are the parameters whose tables may have FILTER.
var filtering = []string{"smtpd_client_restrictions", "smtpd_helo_restrictions", "smtpd_sender_restrictions",
	"smtpd_relay_restrictions", "smtpd_recipient_restrictions", "smtpd_data_restrictions",
	"smtpd_end_of_data_restrictions", "header_checks", "mime_header_checks", "nested_header_checks",
	"body_checks", "milter_header_checks"}

// entriesOf are the entries of a table, those of a file of patterns included; nil if they cannot be listed.
func entriesOf(ctx context.Context, c *postconf.Config, table string) map[string]string {
	kind, path, _ := strings.Cut(table, ":")
	if !slices.Contains([]string{"regexp", "pcre", "cidr", "static"}, kind) {
		entries, _ := c.Entries(ctx, table)
		return entries
	}
	if kind == "static" {
		return map[string]string{"everything": strings.Trim(path, "{} ")}
	}
	text, _ := os.ReadFile(path)
	lines := strings.Split(string(text), "\n")
	if inner, isInline := strings.CutPrefix(path, "{"); isInline {
		lines = postconf.List(strings.TrimSuffix(inner, "}"))
	}
	entries := map[string]string{}
	for _, line := range lines {
		words := strings.Fields(strings.Trim(line, "{}"))
		if len(words) < 2 || strings.HasPrefix(words[0], "#") {
			continue
		}
		entries[words[0]] = words[len(words)-1]
		if action := len(words) - 2; action > 0 && strings.EqualFold(words[action], "FILTER") {
			entries[strings.Join(words[:action], " ")] = words[action] + " " + words[action+1]
		}
	}
	return entries
}
