package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"postmend/dkim"
	"postmend/filter"
	"postmend/filter/domain/publicsuffix"
	"postmend/postfix/postconf"
	"postmend/postfix/setup"
)

// home is what postmend itself needs on this host: an account, a configuration, a secret, keys.
type home struct {
	program, path, user, group string
	hasUser                    bool
	config                     *filter.Config
	text                       string // of the configuration to be written; "" if there is one
	listener                   string
}

// ownFiles reads the configuration, or makes one up for this Postfix.
func (inv *invocation) ownFiles(o *setupOptions, c *postconf.Config, domains *setup.Domains, program string) (*home, error) {
	path, err := inv.absoluteConfig(o)
	if err != nil {
		return nil, err
	}
	h := &home{program: program, path: path, user: o.user, group: o.user}
	if account, err := user.Lookup(o.user); err == nil {
		h.hasUser = true
		if group, err := user.LookupGroupId(account.Gid); err == nil {
			h.group = group.Name
		}
	} else if o.rootDir != "" {
		return nil, fmt.Errorf("there is no account %q, and a trial run makes none; name another with --user", o.user)
	}
	if _, err := os.Stat(path); err == nil {
		for _, flag := range []struct{ name, value string }{
			{"hostname", o.hostname}, {"domain", o.domain}, {"srs-domain", o.srsDomain}, {"selector", o.selector},
		} {
			if flag.value != "" {
				return nil, fmt.Errorf("%s is there and is kept; change it there instead of by --%s", path, flag.name)
			}
		}
		if h.config, err = filter.LoadConfig(path); err != nil {
			return nil, err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	} else if err := h.compose(o, c, domains); err != nil {
		return nil, err
	}
	if h.listener, err = listenerOf(h.config.Reinject.Target); err != nil {
		return nil, err
	}
	return h, h.checkListener(c)
}

// checkListener refuses a listener that another instance of Postfix has: two masters may listen at one port, and mail of one would come back
// to the other. A configuration that was just made up has a port of its own.
func (h *home) checkListener(c *postconf.Config) error {
	if h.text != "" {
		return nil
	}
	_, port, _ := net.SplitHostPort(h.listener)
	for _, other := range c.Others() {
		if s, found := other.AtPort(port); found {
			return fmt.Errorf("%s, the target in %s, is %s of the Postfix in %s; this one needs a configuration of its own: %s",
				h.listener, h.path, s.ID(), other.Dir, h.ownConfigFlag(c))
		}
	}
	if _, found := c.AtPort(port); found {
		return nil
	}
	listener, err := net.Listen("tcp", h.listener)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("something listens at %s, the target in %s, and that is not this Postfix; if it is another instance, this one needs a configuration of its own: %s",
			h.listener, h.path, h.ownConfigFlag(c))
	} else if err == nil {
		listener.Close()
	}
	return nil
}

// ownConfigFlag proposes the name of a configuration for an instance: that of its folder.
func (h *home) ownConfigFlag(c *postconf.Config) string {
	return postconf.Command{"-c", filepath.Join(filepath.Dir(h.path), filepath.Base(c.Dir)+".toml")}.String()
}

// listenerOf gives the address of the listener that a target names.
func listenerOf(target string) (string, error) {
	u, err := url.Parse(target)
	if err == nil && u.Scheme == "smtp" && u.Port() != "" {
		if ip := net.ParseIP(u.Hostname()).To4(); ip != nil && ip.IsLoopback() {
			return u.Host, nil
		}
	}
	return "", fmt.Errorf("[reinject] has target = %q; setup can make a listener for smtp://127.0.0.1:PORT only", target)
}

// compose makes a configuration for a Postfix.
func (h *home) compose(o *setupOptions, c *postconf.Config, domains *setup.Domains) error {
	hostname, err := hostnameOf(o, c)
	if err != nil {
		return err
	}
	signable := domains.Signable()
	domain := o.domain
	if domain == "" {
		if domain, err = defaultDomain(c, signable, hostname); err != nil {
			return err
		}
	}
	if !slices.Contains(signable, domain) {
		signable = append(signable, domain)
	}
	selector := o.selector
	if selector == "" {
		selector = time.Now().Format("2006") + "a"
	}
	h.config = &filter.Config{Hostname: hostname, LocalDomains: domains.Names, LocalDomainsMaps: domains.Tables}
	if h.config.TrustedNetworks, err = trustedNetworks(c); err != nil {
		return err
	}
	h.config.OutboundAddresses = setup.Outbound(func(name string) string {
		value, _ := c.Expand(name)
		return value
	})
	h.config.SRS.Domain = o.srsDomain
	if o.srsDomain == "" {
		h.config.SRS.Domain = "srs." + domain
	}
	h.config.DKIM.DefaultDomain = domain
	h.config.SRS.SecretsFile = filepath.Join(filepath.Dir(h.path), "srs.secrets")
	for _, name := range signable {
		file := filepath.Join(filepath.Dir(h.path), "dkim", name+"."+selector+".pem")
		h.config.DKIM.Keys = append(h.config.DKIM.Keys, filter.KeyConfig{Domain: name, Selector: selector, File: file})
	}
	h.config.Reinject.Target = "smtp://" + freeListener(c)
	h.text = configText(h.config)
	return h.checkNames()
}

// checkNames keeps anything but domain names out of the configuration's text, the file names and the tables.
func (h *home) checkNames() error {
	names := []string{h.config.Hostname, h.config.SRS.Domain}
	for _, key := range h.config.DKIM.Keys {
		names = append(names, key.Domain, key.Selector)
	}
	for _, name := range names {
		if name == "" || len(name) > 253 || name[0] == '.' || strings.Contains(name, "..") ||
			strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" {
			return fmt.Errorf("%q is not a domain name in lower case", name)
		}
	}
	return nil
}

// trustedNetworks are the clients for which Postfix relays, where main.cf names them: their mail is our own outgoing mail. Nil stands for
// the default, loopback, which is always among them.
func trustedNetworks(c *postconf.Config) ([]netip.Prefix, error) {
	if !c.IsSet("mynetworks") {
		return nil, nil
	}
	text, err := c.Expand("mynetworks")
	if err != nil {
		return nil, err
	}
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	networks := slices.Clone(loopback)
	for _, item := range strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' }) {
		item = strings.NewReplacer("[", "", "]", "").Replace(item)
		if strings.HasPrefix(item, "!") {
			return nil, fmt.Errorf("mynetworks has the exception %s, which trusted_networks cannot have; write postmend.toml yourself", item)
		}
		network, err := netip.ParsePrefix(item)
		if ip, notOne := netip.ParseAddr(item); notOne == nil {
			network, err = netip.PrefixFrom(ip, ip.BitLen()), nil
		}
		if err != nil || slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Bits() <= network.Bits() && n.Contains(network.Addr()) }) {
			continue // a table or a file: those clients count as strangers
		}
		networks = append(networks, network.Masked())
	}
	if len(networks) == len(loopback) {
		return nil, nil
	}
	return networks, nil
}

func hostnameOf(o *setupOptions, c *postconf.Config) (string, error) {
	if o.hostname != "" {
		return o.hostname, nil
	}
	name, err := c.Expand("myhostname")
	name = strings.ToLower(name)
	if _, listed := publicsuffix.PublicSuffix(name); err == nil && !listed {
		err = fmt.Errorf("myhostname in main.cf is %q, which no other host can look up; set it (postconf -e myhostname=…), or give --hostname", name)
	}
	return name, err
}

// defaultDomain is the domain that this host is about: Postfix's mydomain, if that is delivered here, or else the first one.
func defaultDomain(c *postconf.Config, signable []string, hostname string) (string, error) {
	mydomain, err := c.Expand("mydomain")
	switch {
	case err != nil:
		return "", err
	case slices.Contains(signable, mydomain):
		return mydomain, nil
	case len(signable) > 0:
		return signable[0], nil
	}
	if domain, ok := publicsuffix.Registered(hostname); ok {
		return domain, nil
	}
	return "", errors.New("none of Postfix's domains can publish a DKIM key; give --domain")
}

// freeListener finds a port of loopback for the listener. A listener that was made for postmend before is used again, unless another
// instance has one at the same port.
func freeListener(c *postconf.Config) string {
	const first = 10026
	others := c.Others()
	for number := first; number < first+100; number++ {
		port := strconv.Itoa(number)
		address := "127.0.0.1:" + port
		s, taken := c.AtPort(port)
		switch {
		case slices.ContainsFunc(others, func(other *postconf.Config) bool { _, found := other.AtPort(port); return found }):
		case taken && s.Name == address && s.Options["syslog_name"] == "postfix/reinject":
			return address
		case !taken && isFree(address):
			return address
		}
	}
	return "127.0.0.1:" + strconv.Itoa(first)
}

func isFree(address string) bool {
	listener, err := net.Listen("tcp", address)
	if err == nil {
		listener.Close()
	}
	return err == nil
}

// configText is the configuration file. Postfix's tables are the only values that are not plain names.
func configText(c *filter.Config) string {
	var b strings.Builder
	list := func(name string, values []string) {
		if len(values) == 0 {
			return
		}
		fmt.Fprintf(&b, "%s = [\n", name)
		for _, value := range values {
			fmt.Fprintf(&b, "  %s,\n", tomlString(value))
		}
		b.WriteString("]\n")
	}
	fmt.Fprintf(&b, "# Written by postmend setup, from Postfix's configuration.\nhostname = %s\n", tomlString(c.Hostname))
	list("local_domains", c.LocalDomains)
	list("local_domains_maps", c.LocalDomainsMaps)
	var networks []string
	for _, network := range c.TrustedNetworks {
		networks = append(networks, network.String())
	}
	list("trusted_networks", networks)
	list("outbound_addresses", c.OutboundAddresses)
	fmt.Fprintf(&b, "\n[srs]\ndomain = %s\nsecrets_file = \"srs.secrets\"\n", tomlString(c.SRS.Domain))
	fmt.Fprintf(&b, "\n[dkim]\ndefault_domain = %s\n", tomlString(c.DKIM.DefaultDomain))
	for _, key := range c.DKIM.Keys {
		fmt.Fprintf(&b, "\n[[dkim.keys]]\ndomain = %s\nselector = %s\nfile = %s\n",
			tomlString(key.Domain), tomlString(key.Selector), tomlString("dkim/"+filepath.Base(key.File)))
	}
	fmt.Fprintf(&b, "\n[reinject]\ntarget = %s\n", tomlString(c.Reinject.Target))
	return b.String()
}

// tomlString writes a basic string of TOML.
func tomlString(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	return `"` + b.String() + `"`
}

// configFlag is the configuration's path where it is not the default one.
func (h *home) configFlag() string {
	if h.path == filter.DefaultConfigFile {
		return ""
	}
	return h.path
}

// steps make what is missing. The configuration comes last: a run that is interrupted begins anew.
func (h *home) steps() []setup.Step {
	var steps []setup.Step
	add := func(why string, action setup.Action) { steps = append(steps, setup.Step{Why: why, Action: action}) }
	if !h.hasUser {
		add("the account that Postfix runs postmend as", postconf.Command{"useradd", "--system", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", h.user})
	}
	if folder := filepath.Dir(h.path); isMissing(folder) {
		add("postmend's configuration", postconf.Command{"install", "-d", "-m", "0755", folder})
	}
	if file := h.config.SRS.SecretsFile; file != "" && isMissing(file) {
		path := postconf.Command{file}.String()
		add("the secret behind SRS addresses", setup.File{Path: file, Mode: 0o600, Owner: h.user, Generate: newSecret,
			ByHand: fmt.Sprintf("(umask 077; head -c 24 /dev/urandom | base64 > %s) && chown %s %s", path, h.user, path)})
	}
	made := map[string]bool{}
	for _, key := range h.config.DKIM.Keys {
		if !isMissing(key.File) {
			continue
		}
		if folder := filepath.Dir(key.File); isMissing(folder) && !made[folder] {
			made[folder] = true
			add("its DKIM keys", postconf.Command{"install", "-d", "-m", "0750", "-g", h.group, folder})
		}
		genkey := postconf.Command{h.program, "dkim", "genkey", "--domain", key.Domain, "--selector", key.Selector, "--file", key.File}
		add("the DKIM key of "+key.Domain, setup.File{Path: key.File, Mode: 0o600, Owner: h.user,
			Generate: func() ([]byte, error) { return dkim.GenerateKey("") },
			ByHand:   genkey.String() + " && " + postconf.Command{"chown", h.user, key.File}.String()})
	}
	if h.text != "" {
		add("what postmend has to know; docs/configuration.md tells the rest", setup.File{Path: h.path, Content: h.text, Mode: 0o644})
	}
	return steps
}

// keyless tells of domains that a configuration which is kept has no key for.
func (h *home) keyless(domains *setup.Domains) []string {
	var notes []string
	for _, domain := range setup.Keyless(h.config, domains.Signable()) {
		if domain != strings.ToLower(h.config.SRS.Domain) {
			notes = append(notes, domain+" has no DKIM key in "+h.path+"; postmend check shows how to add one")
		}
	}
	for _, table := range domains.Unlisted {
		notes = append(notes, "the domains in "+table+" are not looked through: each that is to be signed for needs a key; see \"Adding a domain\" in docs/postfix.md")
	}
	return notes
}

func newSecret() ([]byte, error) {
	random := make([]byte, 24)
	_, err := rand.Read(random)
	return []byte(base64.StdEncoding.EncodeToString(random) + "\n"), err
}

func isMissing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// trial runs postmend as its account before Postfix does: whatever the account may not read would keep all mail waiting.
func (h *home) trial(c *postconf.Config, o *setupOptions) []setup.Step {
	run := func(why string, args ...string) setup.Step {
		cmd := append(postconf.Command{h.program}, args...)
		return setup.Step{Why: why, Action: setup.AsUser{User: h.user, Group: h.group, Command: append(cmd, "-c", h.path)}}
	}
	var steps []setup.Step
	if h.config.SRS.Domain != "" {
		steps = append(steps, run("can that account use the secret,", "srs", "forward", "postmaster@setup.invalid"))
	}
	if len(h.config.DKIM.Keys) > 0 {
		steps = append(steps, run("the keys,", "dkim", "record"))
	}
	if len(h.config.LocalDomainsMaps) > 0 {
		ask := postconf.Command{"env", "MAIL_CONFIG=" + c.Dir, h.program, "explain", "-c", h.path, "-f", "", "--", "postmaster@setup.invalid"}
		steps = append(steps, setup.Step{Why: "and Postfix's tables of local domains? Where it may not: setfacl -m u:" + h.user + ":r FILE",
			Action: setup.AsUser{User: h.user, Group: h.group, Command: postconf.Command{"sh", "-c", "printf 'From: <postmaster@setup.invalid>\\n\\n' | " + ask.String()}}})
	}
	return steps
}

// printRecords prints what has to be published, as lines of a zone file.
func (h *home) printRecords(inv *invocation, c *postconf.Config, applied bool) error {
	lines := []string{"; DNS records to publish"}
	if domain := h.config.SRS.Domain; domain != "" {
		lines = append(lines, fmt.Sprintf("%s. IN MX 10 %s.", domain, h.config.Hostname), fmt.Sprintf(`%s. IN TXT "v=spf1 mx -all"`, domain))
		if relay := c.Get("relayhost"); relay != "" {
			lines = append(lines, fmt.Sprintf("; mail leaves by way of %s: put that host's addresses, or its include:, before -all", relay))
		}
	}
	suggested := map[string]bool{}
	for _, k := range h.config.DKIM.Keys {
		key, err := dkim.LoadKey(k.Domain, k.Selector, k.File)
		if err != nil && applied {
			return err
		} else if err != nil {
			lines = append(lines, fmt.Sprintf("; %s._domainkey.%s: printed when the key is made", k.Selector, k.Domain))
			continue
		}
		record, err := key.ZoneRecord()
		if err != nil {
			return err
		}
		lines = append(lines, record)
	}
	for _, k := range h.config.DKIM.Keys {
		domain, ok := publicsuffix.Registered(k.Domain)
		if !ok || suggested[domain] {
			continue
		}
		if len(suggested) == 0 {
			lines = append(lines, "; and, where there is no DMARC record yet, to begin with:")
		}
		suggested[domain] = true
		lines = append(lines, fmt.Sprintf(`_dmarc.%s. IN TXT "v=DMARC1; p=none; rua=mailto:postmaster@%s"`, domain, domain))
	}
	text := strings.Join(lines, "\n")
	if !applied {
		text = "cat <<'END'\n" + text + "\nEND" // a printed plan is a shell script, and its records can still be pasted
	}
	_, err := fmt.Fprintf(inv.stdout, "\n%s\n", text)
	return err
}
