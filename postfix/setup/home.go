package setup

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"postmend/dkim"
	"postmend/filter/config"
	"postmend/filter/domain/publicsuffix"
	"postmend/postfix/access"
	"postmend/postfix/postconf"
	"postmend/srs/store"
)

// home is what postmend itself needs on this host: an account, a configuration, a secret, keys.
type home struct {
	program, path, user, group string
	hasUser                    bool
	config                     *config.Config
	text                       string // of the configuration to be written; "" if there is one
	listener                   string
	mode                       Mode // to be kept for setup --apply; "" if there is nothing to apply
}

// ownFiles reads the configuration, or makes one up for this Postfix.
func ownFiles(o *Options, c *postconf.Config, domains *Domains) (*home, error) {
	h := &home{program: o.Program, path: o.ConfigFile, user: o.User, group: o.User}
	if why := access.SharedBy(c, o.User); why != "" {
		return nil, fmt.Errorf(
			"%s is not an account for postmend's keys and secrets: %s; name one of its own with --user",
			o.User, why)
	}
	if account, err := user.Lookup(o.User); err == nil {
		h.hasUser = true
		if group, err := user.LookupGroupId(account.Gid); err == nil {
			h.group = group.Name
		}
	} else if o.Trial {
		return nil, fmt.Errorf("there is no account %q, and a trial run makes none; name another with --user",
			o.User)
	}
	if _, err := os.Stat(h.path); err == nil {
		if h.config, err = config.Load(h.path); err != nil {
			return nil, err
		}
		if err := h.agrees(o, c); err != nil {
			return nil, err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	} else if err := h.compose(o, c, domains); err != nil {
		return nil, err
	}
	var err error
	if h.listener, err = listenerOf(h.config.Reinject.Target); err != nil {
		return nil, err
	}
	return h, h.checkListener(c)
}

// agrees gives an error if a flag asks for something else than the configuration says, which is kept.
func (h *home) agrees(o *Options, c *postconf.Config) error {
	var selectors []string
	for _, key := range h.config.DKIM.Keys {
		selectors = append(selectors, key.Selector)
	}
	for _, flag := range []struct {
		name, value string
		has         []string
	}{
		{"hostname", canonical(o.Hostname), []string{h.config.Hostname}},
		{"domain", canonical(o.Domain), []string{h.config.DKIM.DefaultDomain}},
		{"srs-domain", canonical(o.SRSDomain), []string{h.config.SRS.Domain}},
		{"selector", o.Selector, selectors},
	} {
		if flag.value != "" && !slices.Contains(flag.has, flag.value) {
			return fmt.Errorf("%s exists and is kept; edit it instead of using --%s", h.path, flag.name)
		}
	}
	if o.TrustedNetworks == "" {
		return nil
	}
	networks, err := trustedNetworks(o, c)
	if err == nil && !slices.Equal(networks, h.config.TrustedNetworks) {
		err = fmt.Errorf("%s exists and is kept; edit trusted_networks there instead of using "+
			"--trusted-networks", h.path)
	}
	return err
}

// compose makes a configuration for a Postfix.
func (h *home) compose(o *Options, c *postconf.Config, domains *Domains) error {
	hostname, err := hostnameOf(o, c)
	if err != nil {
		return err
	}
	signable := domains.Signable()
	domain := canonical(o.Domain)
	if domain == "" {
		if domain, err = defaultDomain(c, domains, hostname); err != nil {
			return err
		}
	}
	if !slices.Contains(signable, domain) {
		isBelow := func(name string) bool { return strings.HasSuffix(name, "."+domain) }
		signable = append(slices.DeleteFunc(signable, isBelow), domain) // its key serves for those below it
	}
	selector := o.Selector
	if selector == "" {
		selector = time.Now().Format("2006") + "a"
	}
	h.config = &config.Config{Hostname: hostname, LocalDomains: domains.Names,
		LocalDomainsMaps: domains.Tables}
	if h.config.TrustedNetworks, err = trustedNetworks(o, c); err != nil {
		return err
	}
	h.config.OutboundAddresses = Outbound(func(name string) string {
		value, _ := c.Expand(name)
		return value
	})
	h.config.SRS.Domain = canonical(o.SRSDomain)
	if o.SRSDomain == "" {
		h.config.SRS.Domain = "srs." + domain
	}
	h.config.SRS.Store = "dir:" + storeFolder(h.path)
	h.config.DKIM.DefaultDomain = domain
	h.config.SRS.SecretsFile = filepath.Join(filepath.Dir(h.path), "srs.secrets")
	for _, name := range signable {
		file := filepath.Join(filepath.Dir(h.path), "dkim", name+"."+selector+".pem")
		h.config.DKIM.Keys = append(h.config.DKIM.Keys,
			config.Key{Domain: name, Selector: selector, File: file})
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

// defaultDomain is the domain that this host is about: Postfix's mydomain, if that is delivered here; else
// the one that hostname is in; else the first one. The host's own name, which most main.cf list in
// mydestination, comes last, because nobody has an address in it, unless it is a registered domain itself.
func defaultDomain(c *postconf.Config, domains *Domains, hostname string) (string, error) {
	mydomain, err := c.Expand("mydomain")
	if err != nil {
		return "", err
	}
	registered, isRegistered := publicsuffix.Registered(hostname)
	isHost := func(name string) bool { return name == hostname && name != registered }
	signable := domains.Signable()
	candidates := []string{canonical(mydomain)}
	for above := hostname; strings.Contains(above, "."); _, above, _ = strings.Cut(above, ".") {
		candidates = append(candidates, above)
	}
	for _, name := range candidates {
		isHosted := slices.Contains(signable, name) || isPublic(name) && domains.IsHosted(name)
		if isHosted && !isHost(name) {
			return name, nil
		}
	}
	isOther := func(name string) bool { return !isHost(name) }
	if at := slices.IndexFunc(signable, isOther); at >= 0 {
		return signable[at], nil
	} else if len(signable) > 0 {
		return signable[0], nil
	}
	if isRegistered {
		return registered, nil
	}
	return "", errors.New("none of Postfix's domains can publish a DKIM key; give --domain")
}

// asks asks the tables of local domains: postmend defers all mail while one does not answer.
func (h *home) asks(ctx context.Context, c *postconf.Config) error {
	for _, table := range h.config.LocalDomainsMaps {
		if _, _, err := c.Lookup(ctx, table, "check.postmend.invalid"); err != nil {
			return fmt.Errorf("the table %s of main.cf, which has domains of this host, cannot be asked: %w",
				table, err)
		}
	}
	return nil
}

// configFlag is the configuration's path where it is not the default one.
func (h *home) configFlag() string {
	if h.path == config.DefaultFile {
		return ""
	}
	return h.path
}

// steps make what is missing. The configuration comes last: a run that is interrupted begins anew.
func (h *home) steps() []Step {
	var steps []Step
	add := func(why string, action Action) { steps = append(steps, Step{Why: why, Action: action}) }
	if !h.hasUser {
		add("the account that Postfix runs postmend as", access.AddUserCommand(h.user))
	}
	if folder := filepath.Dir(h.path); isMissing(folder) {
		add("the directory of postmend's configuration",
			postconf.Command{"install", "-d", "-m", "0755", folder})
	}
	if file := h.config.SRS.SecretsFile; file != "" && isMissing(file) {
		path := postconf.Command{file}.String()
		add("the secret behind SRS addresses",
			File{Path: file, Mode: 0o600, Owner: h.user, Generate: newSecret,
				ByHand: fmt.Sprintf("(umask 077; head -c 24 /dev/urandom | base64 > %s) && "+
					"chown %s %s", path, h.user, path)})
	}
	for _, folder := range h.storeFolders() {
		add("the senders that do not fit into SRS addresses",
			postconf.Command{"install", "-d", "-m", "0700", "-o", h.user, "-g", h.group, folder})
	}
	made := map[string]bool{}
	for _, key := range h.config.DKIM.Keys {
		if !isMissing(key.File) {
			continue
		}
		if folder := filepath.Dir(key.File); isMissing(folder) && !made[folder] {
			made[folder] = true
			add("the directory of DKIM keys",
				postconf.Command{"install", "-d", "-m", "0750", "-g", h.group, folder})
		}
		genkey := postconf.Command{h.program, "dkim", "genkey", "--domain", key.Domain, "--selector",
			key.Selector, "--file", key.File}
		add("the DKIM key of "+key.Domain, File{Path: key.File, Mode: 0o600, Owner: h.user,
			Generate: func() ([]byte, error) { return dkim.GenerateKey("") },
			ByHand:   genkey.String() + " && " + postconf.Command{"chown", h.user, key.File}.String()})
	}
	if h.text != "" {
		add("postmend's configuration; docs/configuration.md has every setting",
			File{Path: h.path, Content: h.text, Mode: 0o644})
	}
	if h.mode != "" {
		steps = append(steps, h.keepMode(h.mode)...)
	}
	return steps
}

// keyless tells of domains that a configuration which is kept has no key for.
func (h *home) keyless(domains *Domains) []string {
	var notes []string
	for _, domain := range Keyless(h.config, domains.Signable()) {
		if domain != strings.ToLower(h.config.SRS.Domain) {
			notes = append(notes, domain+" has no DKIM key in "+h.path+
				"; postmend check shows how to add one")
		}
	}
	if private := Keyless(h.config, domains.Private()); private != nil {
		notes = append(notes, WithoutKey(private))
	}
	for _, table := range domains.Unlisted {
		notes = append(notes, "the domains in "+table+" are not listed: each that postmend should sign "+
			"for needs a key; see \"Adding a domain\" in docs/postfix.md")
	}
	return notes
}

// letRead is the command that lets the account read the tables of local domains that not everybody may read.
func (h *home) letRead() string {
	closed := func(path string, bit os.FileMode) bool {
		info, err := os.Stat(path)
		return err == nil && info.Mode()&bit == 0
	}
	var folders, files []string
	for _, table := range h.config.LocalDomainsMaps {
		_, path, _ := strings.Cut(strings.TrimPrefix(table, "proxy:"), ":")
		if !filepath.IsAbs(path) {
			continue
		}
		if folder := filepath.Dir(path); closed(folder, 0o001) && !slices.Contains(folders, folder) {
			folders = append(folders, folder)
		}
		for _, file := range []string{path, path + ".db", path + ".lmdb"} {
			if closed(file, 0o004) && !slices.Contains(files, file) {
				files = append(files, file)
			}
		}
	}
	var commands []string
	if folders != nil {
		set := append(postconf.Command{"setfacl", "-m", "u:" + h.user + ":x"}, folders...)
		commands = append(commands, set.String())
	}
	if files == nil {
		files = []string{"FILE"}
	}
	set := append(postconf.Command{"setfacl", "-m", "u:" + h.user + ":r"}, files...)
	return strings.Join(append(commands, set.String()), " && ")
}

// storeFolder is where senders are stored that do not fit into SRS addresses: beside a configuration that is
// not in its usual place.
func storeFolder(configFile string) string {
	if configFile == config.DefaultFile {
		return "/var/lib/postmend/srs"
	}
	return filepath.Join(filepath.Dir(configFile), "srs")
}

// storeFolders are the folders to make for the store of senders, those above first.
func (h *home) storeFolders() []string {
	location, err := store.Parse(h.config.SRS.Store)
	if err != nil || location.Dir == "" || !isMissing(location.Dir) {
		return nil
	}
	parent := filepath.Dir(location.Dir)
	if isMissing(parent) && parent != filepath.Dir(h.path) {
		return []string{parent, location.Dir}
	}
	return []string{location.Dir}
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

// trial runs postmend as its account before Postfix does: whatever the account may not read would keep all
// mail waiting.
func (h *home) trial(c *postconf.Config) []Step {
	run := func(why string, args ...string) Step {
		cmd := append(postconf.Command{h.program}, args...)
		return Step{Why: why,
			Action: asUser{User: h.user, Group: h.group, Command: append(cmd, "-c", h.path)}}
	}
	var steps []Step
	if h.config.SRS.Domain != "" {
		steps = append(steps, run("test whether the account can use the secret", "srs", "forward",
			"postmaster@invalid"))
	}
	if h.config.SRS.Store != "" {
		steps = append(steps, run("test whether the account can use the store of senders", "srs", "prune"))
	}
	if len(h.config.DKIM.Keys) > 0 {
		steps = append(steps, run("test whether the account can use the keys", "dkim", "record"))
	}
	if len(h.config.LocalDomainsMaps) > 0 {
		ask := postconf.Command{"env", "MAIL_CONFIG=" + c.Dir, h.program, "explain", "-c", h.path, "-f", "",
			"--", "postmaster@invalid"}
		steps = append(steps, Step{Why: "test whether the account can read Postfix's tables of local " +
			"domains; if it may see what is in them, passwords included: " + h.letRead() +
			" (package acl); otherwise name the domains in local_domains or local_domains_file of " + h.path +
			", and take the tables out of local_domains_maps there",
			Action: asUser{User: h.user, Group: h.group, Command: postconf.Command{"sh", "-c", "printf " +
				"'From: <postmaster@invalid>\\n\\n' | " + ask.String()}}})
	}
	return steps
}
